"""Resampling whole groups of pictures, vectorised: every interval that is not a proportion's rests on this.

Near-duplicates of one picture are not independent evidence, so a resample draws groups, never single pictures
(cluster bootstrap: Field and Welsh 2007, doi 10.1111/j.1467-9868.2007.00593.x).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

CHUNK_ELEMENTS = 2_000_000  # weights held at once: 8 MB of float32, about a core's cache


def group_codes(groups: ArrayLike | None, count: int) -> NDArray[np.intp]:
    """Group of each of `count` rows as a whole number from 0; without `groups` every row is a group of its own."""
    if groups is None:
        return np.arange(count)
    return np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)


def group_weights(codes: NDArray[np.intp], resamples: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Chunks of float32 (resamples, groups): how often each group was drawn, with replacement, in each resample."""
    generator = np.random.default_rng(seed)
    size = int(codes.max()) + 1
    step = max(1, CHUNK_ELEMENTS // size)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(0, size, (rows, size), dtype=np.int32).astype(np.intp)
        drawn += np.arange(rows)[:, None] * size
        yield np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float32)


def percentile_interval(replicates: NDArray[np.floating], groups: int) -> tuple[float, float]:
    """Ends of the 95 % interval of replicates that resampled `groups` groups; (nan, nan) where none is defined.

    The percentiles are moved outwards as Student's t is against the normal, without which intervals of small samples
    are too narrow (expanded percentile interval: Hesterberg 2015, doi 10.1080/00031305.2015.1089789, section 5.2).
    """
    defined = replicates[np.isfinite(replicates)]
    if defined.size == 0 or groups < 2:
        return float("nan"), float("nan")
    quantile = np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, 0.975)
    low, high = np.quantile(defined, [ndtr(-quantile), ndtr(quantile)])
    return float(low), float(high)
