"""Groups of pictures that look the same, found without comparing every picture with every other.

Two 64-bit hashes that differ in at most d bits agree, in at least one of the b bands that they are cut into, but for
at most floor(d / b) bits (pigeonhole; multi-index hashing: Norouzi, Punjani, Fleet 2012, arXiv:1307.2982). So only
pictures that share a band, or a band with few bits flipped, are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_HASH_BITS = 64
_BATCH = 1 << 21  # candidate pairs held at once: about 100 MB
Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def near_duplicate_pairs(
    phash: NDArray[np.uint64], dhash: NDArray[np.uint64], distance: int, dhash_distance: int
) -> Pairs:
    """Pairs (i, j) of rows whose pHashes differ in at most `distance` bits and dHashes in at most `dhash_distance`.

    Rows with both hashes the same are joined in a chain, not pairwise, so that a million blank pictures cost a million
    pairs. A pair may stand twice.
    """
    both = np.stack([phash, dhash], axis=1)
    unique, first, inverse = np.unique(both, axis=0, return_index=True, return_inverse=True)
    found: list[Pairs] = [_chains(inverse.reshape(-1))]
    for left, right in _candidates(unique[:, 0], distance):
        near = np.bitwise_count(unique[left, 0] ^ unique[right, 0]) <= distance
        left, right = left[near], right[near]
        near = np.bitwise_count(unique[left, 1] ^ unique[right, 1]) <= dhash_distance
        found.append((first[left[near]], first[right[near]]))
    return np.concatenate([pair[0] for pair in found]), np.concatenate([pair[1] for pair in found])


def connected_groups(count: int, pairs: Pairs) -> NDArray[np.int64]:
    """Number the connected components of `count` rows joined by `pairs`, in the order of their first rows."""
    left, right = pairs
    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return np.asarray(order[inverse.reshape(-1)], dtype=np.int64)


def chained(keys: NDArray) -> Pairs:
    """Pairs that join all rows of one key; rows are compared by equality."""
    _, inverse = np.unique(keys, return_inverse=True)
    return _chains(inverse.reshape(-1))


def _chains(inverse: NDArray[np.integer]) -> Pairs:
    order = np.argsort(inverse, kind="stable")
    same = inverse[order[1:]] == inverse[order[:-1]]
    return order[:-1][same], order[1:][same]


def _candidates(hashes: NDArray[np.uint64], distance: int) -> Iterator[Pairs]:
    """Pairs that may be within `distance`, in batches; every pair within it is among them."""
    bands = _band_count(len(hashes))
    edges = np.linspace(0, _HASH_BITS, bands + 1).astype(int)
    for low, high in pairwise(edges):
        width = int(high - low)
        keys = ((hashes >> np.uint64(low)) & np.uint64((1 << width) - 1)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange((1 << width) + 1))
        for flipped in range(distance // bands + 1):
            for positions in combinations(range(width), flipped):
                mask = sum(1 << position for position in positions)
                yield from _joined(keys, order, starts, mask)


def _band_count(count: int) -> int:
    """Bands about as wide as log2 of the number of hashes, so that a bucket holds a few of them: 3 to 8."""
    width = min(21, max(8, int(np.log2(max(count, 2))) - 3))
    return -(-_HASH_BITS // width)


def _joined(keys: NDArray[np.int64], order: NDArray[np.int64], starts: NDArray[np.int64], mask: int) -> Iterator[Pairs]:
    """All pairs (i, j) with keys[i] ^ mask == keys[j], each unordered pair once."""
    other = keys ^ mask
    begin, end = starts[other], starts[other + 1]
    if mask:
        # keys[i] < keys[j] takes each pair of buckets once.
        end = np.where(keys < other, end, begin)
    else:
        # Within a bucket: only the rows that come later in it.
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        begin = place + 1
    lengths = end - begin
    rows = np.flatnonzero(lengths)
    total = np.cumsum(lengths[rows])
    for part in np.split(rows, np.searchsorted(total, np.arange(_BATCH, total[-1], _BATCH)) if len(rows) else []):
        yield _expanded(part, begin, lengths, order)


def _expanded(
    rows: NDArray[np.int64], begin: NDArray[np.int64], lengths: NDArray[np.int64], order: NDArray[np.int64]
) -> Pairs:
    counts = lengths[rows]
    left = np.repeat(rows, counts)
    offsets = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
    return left, order[np.repeat(begin[rows], counts) + offsets]
