"""Intervals: Wilson's for proportions, and a bootstrap over groups of pictures for everything else.

Near-duplicates of one picture are not independent evidence: they widen Wilson's interval by the design effect, and a
resample draws groups, never single pictures (cluster bootstrap: Field and Welsh 2007,
doi 10.1111/j.1467-9868.2007.00593.x).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

NORMAL_QUANTILE_95 = 1.959963984540054
CHUNK_ELEMENTS = 2_000_000  # weights held at once: 8 MB of float32, about a core's cache

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Score:
    """A score and the ends of its 95 % interval; nan where the score is not defined (precision without a positive)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "undefined"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson_interval(
    share: ArrayLike, trials: ArrayLike, quantile: ArrayLike = NORMAL_QUANTILE_95
) -> tuple[Floats, Floats]:
    """Low and high ends of the interval of proportions (Wilson 1927, doi 10.1080/01621459.1927.10502953).

    `share` and `trials` may be numbers or arrays of one shape, as the ends are; without trials the ends are nan. The
    normal `quantile` sets the level: 1.96 is 95 %.
    """
    share, trials = np.asarray(share, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    quantile = np.asarray(quantile, dtype=np.float64)
    squared = quantile**2
    with np.errstate(invalid="ignore", divide="ignore"):
        shrink = 1 + squared / trials
        center = (share + squared / (2 * trials)) / shrink
        half = quantile * np.sqrt(share * (1 - share) / trials + squared / (4 * trials**2)) / shrink
    return np.maximum(center - half, 0.0), np.minimum(center + half, 1.0)


def proportion(hits: ArrayLike, groups: ArrayLike | None = None, quantile: float = NORMAL_QUANTILE_95) -> Score:
    """Share of true `hits` (n,) with Wilson's interval at the effective number of trials.

    Where groups hold several pictures the trials are divided by the design effect, never below 1 (Kish 1965; for
    Wilson's interval Franco et al. 2019, doi 10.1093/jssam/smy019).
    """
    hit = np.asarray(hits, dtype=np.float64)
    if hit.size == 0:
        return Score(float("nan"), float("nan"), float("nan"))
    share = float(hit.mean())
    trials = hit.size / _design_effect(hit, group_codes(groups, hit.size))
    low, high = wilson_interval(share, trials, quantile)
    return Score(share, float(low), float(high))


def _design_effect(hit: Floats, codes: NDArray[np.intp]) -> float:
    """Variance of the share over groups against that over single pictures; all-alike hits count a group as one."""
    sizes = np.bincount(codes)
    share = hit.mean()
    if share in (0.0, 1.0):
        return float((sizes**2).sum() / hit.size)
    between = (np.bincount(codes, weights=hit - share) ** 2).sum()
    return max(1.0, float(between / (hit.size * share * (1 - share))))


def group_codes(groups: ArrayLike | None, count: int) -> NDArray[np.intp]:
    """Group of each of `count` rows as an integer from 0; without `groups` every row is a group of its own."""
    if groups is None:
        return np.arange(count)
    return np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)


def group_weights(codes: NDArray[np.intp], resamples: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Chunks of float32 (resamples, groups): how often each group was sampled, with replacement, in each resample."""
    generator = np.random.default_rng(seed)
    size = int(codes.max()) + 1
    step = max(1, CHUNK_ELEMENTS // size)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        sampled = generator.integers(0, size, (rows, size), dtype=np.int32).astype(np.intp)
        sampled += np.arange(rows)[:, None] * size
        yield np.bincount(sampled.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float32)


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
