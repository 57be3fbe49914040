"""Images that show one photo: the one rule by which data is grouped and conflicts and leaks are found.

Perceptual hashes find near-duplicates, local features (`crops`) find crops, and correlated thumbnails find copies of
small images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import combinations, pairwise, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..config import DatasetConfig
from .crops import BYTES_PER_KEYPOINT, KEYPOINTS, THUMBNAIL, Pairs, crop_pairs, strongest

FEATURES = ("keypoints", "thumbnail")
"""Columns of bytes by which crops are found (see `crops.features`); missing or empty where unknown."""

_MAX_BYTES = 16_000_000
_MIN_KEYPOINTS, _MAX_KEYPOINTS = 32, 96

_HASHED_SIDE, _FREQUENCIES = 32, 8
_HASH_BITS = 64
_BATCH = 1 << 22  # pairs compared at once: about 50 MB

_MIN_CORRELATION = 0.88
_BLUR = 2.0  # pixels of the thumbnail
_MIN_CONTRAST = 2.0  # gray levels: below it, noise is all that could correlate
_SHIFT = 1
_ROWS = 512  # compared with all others at once


def finds_crops(config: DatasetConfig) -> bool:
    """Return True if the config asks for crops and mirror images and OpenCV, which finds them, is installed."""
    return asks_for_crops(config) and find_spec("cv2") is not None


def asks_for_crops(config: DatasetConfig) -> bool:
    """Return True if the config asks for crops and mirror images to be found."""
    return config.crop_duplicates and config.near_duplicate_distance is not None


def lookalike_pairs(fingerprints: pd.DataFrame, config: DatasetConfig) -> Pairs:
    """Find pairs of rows that show one photo by the rules of `config`, none where it sets no distance.

    `fingerprints` has phash, dhash and, if crops are to be found, `FEATURES`.
    """
    if config.near_duplicate_distance is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    phash, dhash = (fingerprints[name].to_numpy(dtype=np.uint64) for name in ("phash", "dhash"))
    pairs = [near_duplicate_pairs(phash, dhash, config.near_duplicate_distance, config.dhash_distance)]
    if config.crop_duplicates:
        features = features_of(fingerprints)
        pairs += [crop_pairs(features["keypoints"].tolist()), small_pairs(features["thumbnail"].tolist())]
    return concatenated(pairs)


def features_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return the features of a table's rows; empty where it has none."""
    known = table.reindex(columns=list(FEATURES)).reset_index(drop=True)
    return known.map(lambda data: data if isinstance(data, bytes) else b"").astype(object)


def compact(features: pd.DataFrame) -> pd.DataFrame:
    """Reduce features to what is kept with a model: 1.8 kB an image, down to 0.6 kB from 9,000 images on.

    Of 513 pairs of crops, 504 are found again when one image of each has 96 of its 128 keypoints, 475 with 64, 428
    with 32.
    """
    affordable = _MAX_BYTES // (BYTES_PER_KEYPOINT * max(1, len(features)))
    count = min(KEYPOINTS, max(_MIN_KEYPOINTS, min(_MAX_KEYPOINTS, affordable)))
    return features.assign(keypoints=[strongest(data, count) for data in features["keypoints"]])


def perceptual_hashes(images: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the pHash and dHash of images of shape (size, size, 3): 64 bits each, uint64 (n,).

    pHash: the signs of the 8x8 lowest frequencies of a 32x32 gray thumbnail about their median (Zauner 2010,
    "Implementation and benchmarking of perceptual image hash functions"). dHash: 1 where a pixel of a 9x8
    thumbnail is brighter than its left neighbor.
    """
    thumbnails = [_shrunk(Image.fromarray(image).convert("L"), _HASHED_SIDE, _HASHED_SIDE) for image in images]
    pixels = np.stack([np.asarray(thumbnail, dtype=np.float32) for thumbnail in thumbnails])
    frequencies = dctn(pixels, axes=(1, 2))[:, :_FREQUENCIES, :_FREQUENCIES].reshape(len(thumbnails), -1)
    signs = frequencies > np.median(frequencies, axis=1, keepdims=True)
    small = np.stack([np.asarray(_shrunk(thumbnail, 9, 8), dtype=np.int16) for thumbnail in thumbnails])
    steps = (np.diff(small, axis=2) > 0).reshape(len(thumbnails), -1)
    return _packed_bits(signs), _packed_bits(steps)


def _shrunk(gray: Image.Image, width: int, height: int) -> Image.Image:
    return gray.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)


def _packed_bits(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def near_duplicate_pairs(
    phash: NDArray[np.uint64], dhash: NDArray[np.uint64], distance: int, dhash_distance: int
) -> Pairs:
    """Find pairs (i, j) of rows: pHashes differ in at most `distance` bits, dHashes in at most `dhash_distance`.

    Two 64-bit hashes that differ in at most d bits agree, in at least one of the b bands that they are cut into, but
    for at most floor(d / b) bits (multi-index hashing: Norouzi, Punjani, Fleet 2012, arXiv:1307.2982). So only images
    that share a band, or a band with few bits flipped, are compared. A pair may stand twice.
    """
    both = np.stack([phash, dhash], axis=1)
    unique, first, inverse = np.unique(both, axis=0, return_index=True, return_inverse=True)
    found = [equal_pairs(inverse.reshape(-1))]
    for left, right in _within_distance(unique[:, 0], distance):
        near = np.bitwise_count(unique[left, 1] ^ unique[right, 1]) <= dhash_distance
        found.append((first[left[near]], first[right[near]]))
    return concatenated(found)


def connected_groups(count: int, pairs: Pairs) -> NDArray[np.int64]:
    """Number the connected components of `count` rows joined by `pairs`, in the order of their first rows."""
    left, right = pairs
    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return np.asarray(order[inverse.reshape(-1)], dtype=np.int64)


def equal_pairs(keys: pd.Series | NDArray) -> Pairs:
    """Return pairs that join all rows of one key in a chain, so that a million equal rows cost a million pairs."""
    codes, _ = pd.factorize(keys)
    order = np.argsort(codes, kind="stable")
    same = codes[order[1:]] == codes[order[:-1]]
    return order[:-1][same], order[1:][same]


def concatenated(pairs: Sequence[Pairs]) -> Pairs:
    """Return all pairs as one."""
    return np.concatenate([left for left, _ in pairs]), np.concatenate([right for _, right in pairs])


def _within_distance(hashes: NDArray[np.uint64], distance: int) -> Iterator[Pairs]:
    """Find pairs of hashes that differ in at most `distance` bits, in batches."""
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
    """Return the number of bands, 4 to 8: a little narrower than log2 of `count`, so that a bucket holds a few."""
    return -(-_HASH_BITS // min(16, max(8, int(np.log2(max(count, 2))) - 3)))


def _flips(width: int, max_count: int) -> NDArray[np.int64]:
    """Return every mask of `width` bits with 1 to `max_count` of them set."""
    chosen = (positions for count in range(1, max_count + 1) for positions in combinations(range(width), count))
    return np.array([sum(1 << position for position in positions) for positions in chosen], dtype=np.int64)


def _within_band(
    hashes: NDArray[np.uint64], starts: NDArray[np.int64], flips: NDArray[np.int64], distance: int
) -> Iterator[Pairs]:
    """Find pairs of places in `hashes`, which are sorted by their band; bucket k lies from starts[k] to starts[k + 1].

    Each bucket is compared with itself and with those behind it with a key that differs by one of `flips`.
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


def small_pairs(thumbnails: Sequence[bytes]) -> Pairs:
    """Find pairs (i, j), i < j, of small images, such as faces of 48 pixels, that show one photo, plain or mirrored.

    Keypoints say nothing about so few pixels. Two thumbnails of 16 x 16 pixels are compared by the correlation of
    their fine structure (a blurred copy is subtracted, since all faces are alike in their coarse light), at the best
    of nine shifts: a matrix product. An empty thumbnail is in no pair.
    """
    rows = np.array([row for row, thumbnail in enumerate(thumbnails) if thumbnail], dtype=np.int64)
    pixels = np.frombuffer(b"".join(thumbnails), dtype=np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)
    gray = pixels.astype(np.float32)
    fine = gray - gaussian_filter(gray, (0, _BLUR, _BLUR))
    structured = fine.std(axis=(1, 2)) >= _MIN_CONTRAST
    rows, fine = rows[structured], fine[structured]
    found = [np.zeros((2, 0), np.int64)]
    for plain in (fine, fine[:, :, ::-1]):
        queries = _unit(plain[:, _SHIFT:-_SHIFT, _SHIFT:-_SHIFT])
        for windows in _shifted(fine):
            found.extend(_correlated(queries, windows))
    left, right = np.unique(np.concatenate(found, axis=1), axis=1)
    return rows[left], rows[right]


def _shifted(fine: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield the inner part of all thumbnails at each of nine shifts."""
    size = THUMBNAIL - 2 * _SHIFT
    for top, start in product(range(2 * _SHIFT + 1), repeat=2):
        yield _unit(fine[:, top : top + size, start : start + size])


def _unit(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return windows as rows of mean 0 and length 1, so that their products are correlations."""
    flat = windows.reshape(len(windows), windows.shape[1] * windows.shape[2])
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _correlated(queries: NDArray[np.float32], windows: NDArray[np.float32]) -> Iterator[NDArray[np.int64]]:
    """Yield pairs (2, n) of a query and a later window, block by block."""
    for top in range(0, len(queries), _ROWS):
        correlation = queries[top : top + _ROWS] @ windows[top:].T
        left, right = np.nonzero(correlation > _MIN_CORRELATION)
        yield np.stack([left, right])[:, left < right] + top
