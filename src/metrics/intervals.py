"""Intervals: Wilson's for proportions, and a bootstrap over groups of images for everything else.

Near-duplicates of one image are not independent evidence: they lower the number of trials of Wilson's interval, and a
resample draws groups, never single images (cluster bootstrap: Field and Welsh 2007,
doi 10.1111/j.1467-9868.2007.00593.x). `python -m benchmarks.coverage` measures how often the intervals hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, gammaincinv, logit, ndtr, stdtrit

NORMAL_QUANTILE_95 = 1.959963984540054
RARE = 3.5  # up to three, whatever rounding makes of a count
MIN_ESTIMATED_GROUPS = (
    16  # with mistakes, from which on their design effect is estimated: measured, benchmarks/coverage
)
FEW_GROUPS = 30  # below which intervals are rough
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
        return f"{self.value:z.3f} [{self.low:z.3f}, {self.high:z.3f}]"  # z: never -0.000


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
    """Share of true `hits` (n,) with Wilson's interval at the effective number of trials (Franco et al. 2019, doi
    10.1093/jssam/smy019).

    Where there are at most three mistakes, or at most three hits, the end beside them comes from the Poisson
    distribution, as Wilson's own covers too little there (Brown, Cai and DasGupta 2001, doi 10.1214/ss/1009213286,
    section 4.1.1).
    """
    hit = np.asarray(hits, dtype=np.float64)
    if hit.size == 0:
        return Score(float("nan"), float("nan"), float("nan"))
    share, trials = float(hit.mean()), effective_trials(hit, group_codes(groups, hit.size))
    low, high = (float(end) for end in wilson_interval(share, trials, quantile))
    level = float(2 * ndtr(-quantile))
    if 0 < share * trials <= RARE:
        low = min(low, float(gammaincinv(share * trials, level)) / trials)
    if 0 < (1 - share) * trials <= RARE:
        high = max(high, 1 - float(gammaincinv((1 - share) * trials, level)) / trials)
    return Score(share, low, high)


def effective_groups(codes: NDArray[np.intp]) -> float:
    """Number of groups of equal size that say as much as these (Kish 1965): all where sizes are equal, else fewer."""
    sizes = np.bincount(codes).astype(np.float64)
    return float(codes.size**2 / (sizes**2).sum())


def effective_trials(hits: Floats, codes: NDArray[np.intp]) -> float:
    """Number of independent images that say as much of the mean of `hits` (n,), in 0..1, as these in their groups.

    Not more than n, and not fewer than the effective groups, as if every group were copies of one image. Between the
    two the design effect is estimated, its few degrees of freedom made up for (Korn and Graubard 1998, Survey
    Methodology 24:193); but where the mistakes, or the hits, lie in too few groups to estimate it, groups are copies.
    """
    count, groups, share = codes.size, effective_groups(codes), float(hits.mean())
    rare = np.bincount(codes, weights=hits if share < 0.5 else 1 - hits)
    if groups == count or not rare.any() or rare.sum() ** 2 / (rare**2).sum() < MIN_ESTIMATED_GROUPS:
        return groups
    between = (np.bincount(codes, weights=hits - share) ** 2).sum() * groups / (groups - 1)
    between *= (stdtrit(groups - 1, 0.975) / NORMAL_QUANTILE_95) ** 2
    alone = count * share * (1 - share)  # what `between` is where every image is a group of its own
    return max(groups, count * alone / max(between, alone))


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


def percentile_interval(replicates: NDArray[np.floating], groups: float) -> tuple[float, float]:
    """Ends of the 95 % interval of replicates that resampled `groups` effective groups; (nan, nan) where none is
    defined.

    The percentiles are moved outwards as Student's t is against the normal, without which intervals of small samples
    are too narrow (expanded percentile interval: Hesterberg 2015, doi 10.1080/00031305.2015.1089789, section 5.2).
    """
    defined = replicates[np.isfinite(replicates)]
    if defined.size == 0 or groups <= 1:
        return float("nan"), float("nan")
    quantile = np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, 0.975)
    low, high = np.quantile(defined, [ndtr(-quantile), ndtr(quantile)])
    return float(low), float(high)


def log_odds_interval(value: float, replicates: Floats, groups: float) -> list[float]:
    """Ends of the 95 % interval of an area in (0, 1), symmetric in log-odds; none where there is none.

    Near 1 percentiles reach too little downwards (Pepe 2003, The Statistical Evaluation of Medical Tests).
    """
    deviation = float(np.std(replicates[np.isfinite(replicates)])) if np.isfinite(replicates).any() else 0.0
    if groups <= 1:
        return []
    half = np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, 0.975) * deviation / (value * (1 - value))
    return [float(expit(logit(value) + sign * half)) for sign in (-1, 1)]


def studentized_replicates(values: Floats, codes: NDArray[np.intp], weights: Floats) -> Floats:
    """Distance of the mean of `values` (n,) from that of each resample, in standard errors, (resamples,).

    Standard errors are those of each resample, from its groups, of which `weights` (resamples, groups) says how often
    each was sampled; nan where one is 0 (bootstrap-t: Efron and Tibshirani 1993, chapter 12.5).
    """
    sums, sizes = np.bincount(codes, weights=values), np.bincount(codes).astype(np.float64)
    total = weights @ sizes
    means = weights @ sums / total
    squares = weights @ sums**2 - 2 * means * (weights @ (sums * sizes)) + means**2 * (weights @ sizes**2)
    errors = np.sqrt(np.maximum(squares, 0)) / total
    return np.divide(means - values.mean(), errors, out=np.full_like(errors, np.nan), where=errors > 1e-9)


def studentized_interval(values: Floats, codes: NDArray[np.intp], replicates: Floats) -> tuple[float, float]:
    """Ends of the 95 % interval of the mean of `values` (n,) from its studentized replicates, and never narrower than
    Student's t; (nan, nan) where there are no groups to resample.

    Unlike percentiles these know that the mean of a skewed loss lacks, more often than not, its rare large values.
    """
    defined, groups, mean = replicates[np.isfinite(replicates)], effective_groups(codes), values.mean()
    if defined.size == 0 or groups <= 1:
        return float("nan"), float("nan")
    error = np.sqrt((np.bincount(codes, weights=values - mean) ** 2).sum()) / values.size
    student = np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, 0.975)
    low, high = np.quantile(defined, [0.025, 0.975])
    return float(mean - max(high, student) * error), float(mean - min(low, -student) * error)
