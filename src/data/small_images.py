"""Pairs of small images, such as faces of 48 pixels, that show one photo: shifted a little, mirrored, recolored.

Keypoints say nothing about so few pixels. What two thumbnails of 16 x 16 pixels have in common is measured by the
correlation of their fine structure (a blurred copy is taken away, since all faces are alike in their coarse light), at
the best of nine shifts. Every thumbnail is compared with every other: a matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .local_features import THUMBNAIL

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
_MIN_CORRELATION = 0.88
_BLUR = 2.0  # pixels of the thumbnail
_MIN_CONTRAST = 2.0  # gray levels: below it, noise is all that could correlate
_SHIFT = 1
_ROWS = 512  # compared with all others at once


def small_pairs(thumbnails: Sequence[bytes]) -> Pairs:
    """Pairs (i, j), i < j, of thumbnails of one photo, plain or mirrored; an empty one is in no pair."""
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
    """The inner part of all thumbnails, seen from nine places."""
    size = THUMBNAIL - 2 * _SHIFT
    for top, start in product(range(2 * _SHIFT + 1), repeat=2):
        yield _unit(fine[:, top : top + size, start : start + size])


def _unit(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Windows as rows of mean 0 and length 1, so that their products are correlations."""
    flat = windows.reshape(len(windows), windows.shape[1] * windows.shape[2])
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _correlated(queries: NDArray[np.float32], windows: NDArray[np.float32]) -> Iterator[NDArray[np.int64]]:
    """Pairs (2, n) of a query and a later window, block by block."""
    for top in range(0, len(queries), _ROWS):
        correlation = queries[top : top + _ROWS] @ windows[top:].T
        left, right = np.nonzero(correlation > _MIN_CORRELATION)
        yield np.stack([left, right])[:, left < right] + top
