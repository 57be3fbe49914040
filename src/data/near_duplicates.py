"""Groups of images that look the same, by perceptual hashes, without comparing every image with every other.

Two 64-bit hashes that differ in at most d bits agree, in at least one of the b bands that they are cut into, but for
at most floor(d / b) bits (pigeonhole; multi-index hashing: Norouzi, Punjani, Fleet 2012, arXiv:1307.2982). So only
images that share a band, or a band with few bits flipped, are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_THUMBNAIL, _FREQUENCIES = 32, 8
_HASH_BITS = 64
_BATCH = 1 << 22  # pairs compared at once: about 50 MB
Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def perceptual_hashes(images: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The pHash and dHash of images of shape (size, size, 3): 64 bits each, uint64 (n,).

    pHash: the signs of the 8x8 lowest frequencies of a 32x32 gray thumbnail about their median (Zauner 2010,
    "Implementation and benchmarking of perceptual image hash functions"). dHash: whether a pixel of a 9x8 thumbnail
    is brighter than its left neighbor.
    """
    thumbnails = [_shrunk(Image.fromarray(image).convert("L"), _THUMBNAIL, _THUMBNAIL) for image in images]
    pixels = np.stack([np.asarray(thumbnail, dtype=np.float32) for thumbnail in thumbnails])
    frequencies = dctn(pixels, axes=(1, 2))[:, :_FREQUENCIES, :_FREQUENCIES].reshape(len(thumbnails), -1)
    signs = frequencies > np.median(frequencies, axis=1, keepdims=True)
    small = np.stack([np.asarray(_shrunk(thumbnail, 9, 8), dtype=np.int16) for thumbnail in thumbnails])
    steps = (np.diff(small, axis=2) > 0).reshape(len(thumbnails), -1)
    return _packed(signs), _packed(steps)


def _shrunk(gray: Image.Image, width: int, height: int) -> Image.Image:
    return gray.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def near_duplicate_pairs(
    phash: NDArray[np.uint64], dhash: NDArray[np.uint64], distance: int, dhash_distance: int
) -> Pairs:
    """Pairs (i, j) of rows whose pHashes differ in at most `distance` bits and dHashes in at most `dhash_distance`.

    Rows with both hashes the same are joined in a chain, not pairwise, so that a million blank images cost a million
    pairs. A pair may stand twice.
    """
    both = np.stack([phash, dhash], axis=1)
    unique, first, inverse = np.unique(both, axis=0, return_index=True, return_inverse=True)
    found: list[Pairs] = [_chains(inverse.reshape(-1))]
    for left, right in _within_distance(unique[:, 0], distance):
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


def _within_distance(hashes: NDArray[np.uint64], distance: int) -> Iterator[Pairs]:
    """Pairs of hashes that differ in at most `distance` bits, in batches."""
    bands = _band_count(len(hashes))
    edges = np.linspace(0, _HASH_BITS, bands + 1).astype(int)
    for low, high in pairwise(edges):
        width = int(high - low)
        keys = ((hashes >> np.uint64(low)) & np.uint64((1 << width) - 1)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange((1 << width) + 1))
        for left, right in _within_band(hashes[order], starts, _flips(width, distance // bands), distance):
            yield order[left], order[right]


def _band_count(count: int) -> int:
    """Bands a little narrower than log2 of the number of hashes, so that a bucket holds a few of them: 4 to 8."""
    return -(-_HASH_BITS // min(16, max(8, int(np.log2(max(count, 2))) - 3)))


def _flips(width: int, max_count: int) -> NDArray[np.int64]:
    """Every mask of `width` bits of which 1 to `max_count` are set."""
    chosen = (positions for count in range(1, max_count + 1) for positions in combinations(range(width), count))
    return np.array([sum(1 << position for position in positions) for positions in chosen], dtype=np.int64)


def _within_band(
    hashes: NDArray[np.uint64], starts: NDArray[np.int64], flips: NDArray[np.int64], distance: int
) -> Iterator[Pairs]:
    """Pairs of places in `hashes`, which are sorted by their band; bucket k lies from starts[k] to starts[k + 1].

    Each bucket is compared with itself and with those buckets behind it whose key differs by one of `flips`.
    """
    for key in np.flatnonzero(np.diff(starts)):
        others = key ^ flips
        others = others[others > key]
        bounds = [(starts[other], starts[other + 1]) for other in (key, *others)]
        begin, end = bounds[0]
        candidates = np.concatenate([hashes[low:high] for low, high in bounds])
        step = max(1, _BATCH // len(candidates))
        for top in range(begin, end, step):
            rows = np.arange(top, min(top + step, end))
            near = np.bitwise_count(hashes[rows, None] ^ candidates) <= distance
            near[:, : end - begin] &= rows[:, None] < np.arange(begin, end)
            if near.any():
                left, right = np.nonzero(near)
                yield rows[left], np.concatenate([np.arange(low, high) for low, high in bounds])[right]
