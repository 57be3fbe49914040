"""Tests of two candidates on the same images: paired intervals, McNemar's exact test, Holm's correction.

A candidate is a config; its members are trained models, one for each seed. Values are per image and larger is
better: 1 for a right prediction and 0 for a wrong one, or a loss with its sign turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit
from scipy.stats import binom
from scipy.stats import t as student

from ..metrics.intervals import (
    NORMAL_QUANTILE_95,
    effective_groups,
    effective_trials,
    group_weights,
    wilson_interval,
)
from .leaderboard import LOSSES, Metric, TestValues, values_on_test

SIGNIFICANCE = 0.05
BETTER, WORSE, SAME = "better", "worse", "not distinguishable"

Floats = NDArray[np.floating]


def mcnemar_exact(first_only: ArrayLike, second_only: ArrayLike) -> Floats:
    """Two-sided exact p-values of counts of discordant pairs (McNemar 1947, doi 10.1007/BF02295996); 1 without any."""
    fewer, more = np.minimum(first_only, second_only), np.maximum(first_only, second_only)
    return np.minimum(1.0, 2 * binom.cdf(fewer, fewer + more, 0.5))


def holm(p_values: ArrayLike) -> Floats:
    """P-values adjusted so that the chance of any false discovery among all stays below the level (Holm 1979)."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, stepped)
    return adjusted


@dataclass(frozen=True)
class Sample:
    """The means of all candidates and their errors: means over seeds (candidates,), the covariance that picking these
    images gives them (candidates, candidates) and the effective groups that it is estimated from, the effective
    trials of each mean, and the variance of each mean between seeds.
    """

    means: Floats
    image_covariance: Floats
    groups: float
    trials: Floats
    seeds: SeedVariance

    @classmethod
    def of(
        cls,
        members: Sequence[Floats],
        codes: NDArray[np.intp],
        resamples: int,
        seed: int,
        balanced_trials: float | None = None,
    ) -> Sample:
        """From values (seeds, images) of each candidate and the group of each image; `balanced_trials` is the most
        that balanced accuracy's trials may be, where the values are its.
        """
        values = np.stack([member.mean(axis=0) for member in members])
        groups = effective_groups(codes)
        covariance = _image_covariance(values, codes, resamples, seed) * (groups / (groups - 1) if groups > 1 else 1)
        if balanced_trials is None:
            trials = np.array([effective_trials(row, codes) for row in values])
        else:  # as many as give a proportion this variance
            means, variance = values.mean(axis=1), np.diag(covariance)
            trials = np.full(variance.shape, balanced_trials)
            np.divide(means * (1 - means), variance, out=trials, where=variance > 0)
            trials = np.minimum(trials, balanced_trials)
        return cls(values.mean(axis=1), covariance, groups, trials, SeedVariance.of(members))

    @property
    def image_freedom(self) -> float:
        """Degrees of freedom of the covariance that picking these images gives."""
        return self.groups - 1

    @property
    def covariance(self) -> Floats:
        """Of the candidates' means (candidates, candidates), over images and seeds."""
        return self.image_covariance + np.diag(self.seeds.variance)

    def intervals(self, *, proportions: bool, level: float = 0.975) -> tuple[Floats, Floats]:
        """Intervals of the means (candidates,) over images and, where there are several, seeds; 95 % at the default
        `level`, that of one end.

        Proportions get Wilson's, at the number of trials that their variance stands for.
        """
        seeds = self.seeds.variance
        if proportions:
            spread = self.means * (1 - self.means)
            variance = spread / self.trials + seeds
            quantile = stdtrit(_freedom(variance, seeds[:, None], self.seeds.freedom[:, None]), level)
            trials = np.divide(spread, variance, out=self.trials.copy(), where=variance > 0)
            return wilson_interval(self.means, trials, quantile)
        images = np.diag(self.image_covariance)
        parts = np.column_stack([images, seeds])
        freedoms = np.column_stack([np.full(seeds.shape, self.image_freedom), self.seeds.freedom])
        half = stdtrit(_freedom(images + seeds, parts, freedoms), level) * np.sqrt(images + seeds)
        return self.means - half, self.means + half


def compare_pairs(
    members: Sequence[Floats],
    codes: NDArray[np.intp],
    *,
    exact: bool,
    shares: bool = True,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every pair of candidates (`first` < `second`, positions in `members`) on the same images.

    `members` holds values (seeds, images) of each candidate, `codes` the group of each image (integers from 0).
    `shares` says that their means lie in 0..1. The interval of the difference comes from a bootstrap over groups and,
    where there are several seeds, from the spread between them. `exact` adds McNemar's test, on groups and means over
    seeds where there are several; the p-value is then the larger one. It is corrected by Holm over all pairs. The
    verdict is on the first of the pair: on configs, but where no candidate has several seeds on these trained models
    alone. `images_to_settle` is how many test images would show the difference with 80 % power, inf where only more
    seeds can; `seeds_to_settle` is how many seeds of each config would, inf where only more images can, nan where their
    spread is not known (for accuracy it is taken as `SEED_SPREAD` then).
    """
    sample = Sample.of(members, codes, resamples, seed)
    first, second = np.triu_indices(len(members), k=1)
    difference = sample.means[first] - sample.means[second]
    diagonal = np.diag(sample.image_covariance)
    images = np.maximum(diagonal[first] + diagonal[second] - 2 * sample.image_covariance[first, second], 0.0)
    pair = np.column_stack([first, second])
    seeds, seed_freedom = sample.seeds.of_pairs(pair)
    error = np.sqrt(images + seeds.sum(axis=1))
    parts = np.column_stack([images, seeds])
    freedoms = np.column_stack([np.full(images.shape, sample.image_freedom), seed_freedom])
    freedom = _freedom(error**2, parts, freedoms)
    half = stdtrit(freedom, 0.975) * error
    p_value = _t_test(difference, error, freedom)
    if exact:
        p_value = np.maximum(p_value, _sign_test(members, codes)[first, second])
    corrected = holm(p_value)
    clear = (corrected < SIGNIFICANCE) & (np.abs(difference) > half)
    verdict = np.where(clear, np.where(difference > 0, BETTER, WORSE), SAME)
    needed = _images_needed(difference, images, seeds.sum(axis=1), codes.size)
    of_a_seed = np.full(difference.shape, sample.seeds.pooled)
    if exact and np.isnan(of_a_seed).any():
        accuracy = (sample.means[first] + sample.means[second]) / 2
        of_a_seed = (SEED_SPREAD * accuracy * (1 - accuracy)) ** 2
    more_seeds = seeds_needed(difference, images, of_a_seed)
    most = 1.0 if shares else np.inf
    ends = (np.maximum(difference - half, -most), np.minimum(difference + half, most))
    columns = (first, second, difference, *ends, p_value, corrected, verdict, needed, more_seeds)
    return pd.DataFrame(dict(zip(PAIR_COLUMNS, columns, strict=True)))


PAIR_COLUMNS = (
    "first",
    "second",
    "difference",
    "low",
    "high",
    "p_value",
    "p_corrected",
    "verdict",
    "images_to_settle",
    "seeds_to_settle",
)


def _image_covariance(values: Floats, codes: NDArray[np.intp], resamples: int, seed: int) -> Floats:
    """Covariance of the candidates' means when groups are resampled."""
    sums, sizes = _group_sums(values, codes), np.bincount(codes).astype(np.float32)
    centered = (sums - values.mean(axis=1, keepdims=True) * sizes).astype(np.float32)
    replicates = np.concatenate(
        [(weights @ centered.T) / (weights @ sizes)[:, None] for weights in group_weights(codes, resamples, seed)]
    ).astype(np.float64)
    return np.atleast_2d(np.cov(replicates, rowvar=False))


def _group_sums(values: Floats, codes: NDArray[np.intp]) -> Floats:
    if codes.max() + 1 == codes.size:
        return values[:, np.argsort(codes)]
    return np.stack([np.bincount(codes, weights=row) for row in values])


def _sign_test(members: Sequence[Floats], codes: NDArray[np.intp]) -> Floats:
    """Exact p-values (candidates, candidates): groups that the one gets more right than the other, against the reverse.

    With one seed and no near-duplicates these are the discordant pairs of McNemar's test.
    """
    values = _group_sums(np.stack([member.mean(axis=0) for member in members]), codes).round(6)
    better = np.zeros((len(members), len(members)))
    for level in np.unique(values)[1:]:
        better += (values == level).astype(np.float32) @ (values < level).astype(np.float32).T
    return mcnemar_exact(better, better.T)


def _freedom(variance: Floats, components: Floats, freedoms: NDArray) -> Floats:
    """Degrees of freedom (n,) of variances (n,), of which the `components` (n, k) have `freedoms` and the rest
    infinitely many (Welch 1947, Satterthwaite 1946).
    """
    below = np.where(freedoms > 0, components**2 / np.where(freedoms > 0, freedoms, 1), 0.0).sum(axis=1)
    return np.divide(variance**2, below, out=np.full_like(variance, np.inf), where=below > 0)


def _t_test(difference: Floats, error: Floats, freedom: Floats) -> Floats:
    ratio = np.divide(np.abs(difference), error, out=np.zeros_like(error), where=error > 0)
    return np.asarray(2 * student.sf(ratio, freedom))


def _images_needed(difference: Floats, images: Floats, seeds: Floats, count: int) -> Floats:
    """Test images at which this difference would exceed its error by the quantiles of 5 % level and 80 % power.

    The variance over images falls as 1 / n, that between seeds does not. For two single models that is Miettinen's
    size for McNemar's test (1968) in its first approximation.
    """
    wanted = (difference / (NORMAL_QUANTILE_95 + POWER_QUANTILE)) ** 2 - seeds
    return np.ceil(np.divide(images * count, wanted, out=np.full_like(wanted, np.inf), where=wanted > 0))


POWER_QUANTILE = 0.8416212335729143  # of 80 % power
SEED_SPREAD = 0.4  # standard deviation of a trained model's accuracy in log-odds, where no config has several seeds
MIN_SEEDS = 3  # with fewer, their spread is hardly known


@dataclass(frozen=True)
class SeedVariance:
    """Variance of each candidate's mean between seeds and its degrees of freedom, each (candidates,).

    A candidate with one seed takes the variance of a single seed, `pooled`, from all that have several; without any it
    is nan and the variances are 0, so that what is said holds for these trained models alone.
    """

    counts: NDArray[np.integer]
    variance: Floats
    freedom: NDArray[np.integer]
    pooled: float

    @classmethod
    def of(cls, members: Sequence[Floats]) -> SeedVariance:
        """From the values (seeds, images) of each candidate."""
        counts = np.array([len(member) for member in members])
        several = counts > 1
        between = np.array([member.mean(axis=1).var(ddof=1) if len(member) > 1 else np.nan for member in members])
        pooled = float(np.average(between[several], weights=counts[several] - 1)) if several.any() else float("nan")
        variance = np.nan_to_num(np.where(several, between, pooled) / counts)
        return cls(counts, variance, np.where(several, counts - 1, (counts[several] - 1).sum()), pooled)

    def of_pairs(self, pair: NDArray[np.intp]) -> tuple[Floats, NDArray[np.integer]]:
        """Independent parts of the variance of differences, and their degrees of freedom, each (pairs, 2).

        Where one of the pair (pairs, 2) has a single seed both take the pooled variance, which is then one part.
        """
        single = (self.counts[pair] == 1).any(axis=1) & np.isfinite(self.pooled)
        parts, freedom = self.variance[pair].copy(), self.freedom[pair].copy()
        parts[single] = 0.0
        parts[single, 0] = self.pooled * (1 / self.counts[pair[single]]).sum(axis=1)
        freedom[single] = (self.counts - 1).sum()
        return parts, freedom


def seeds_needed(difference: Floats, images: Floats, of_a_seed: Floats) -> Floats:
    """Seeds of each config at which these differences would exceed their errors by the quantiles of 5 % level and 80 %
    power, on as many images as now. That few seeds have to show their own spread adds one (Guenther 1981, The
    American Statistician 35:243).

    `images` is the variance that the choice of images gives a difference, `of_a_seed` that of a single seed. The
    answer is inf where only more images can, and nan where `of_a_seed` is.
    """
    left = (difference / (NORMAL_QUANTILE_95 + POWER_QUANTILE)) ** 2 - images
    needed = np.divide(2 * of_a_seed, left, out=np.full_like(left, np.inf), where=left > 0)
    needed = np.ceil(needed + NORMAL_QUANTILE_95**2 / 4)
    return np.where(np.isnan(of_a_seed), np.nan, np.maximum(needed, MIN_SEEDS))


@dataclass(frozen=True)
class GateResult:
    """The gate's decision on the challenger, and its evidence in one line; `difference` is how much better it is than
    the holder, None where they cannot be compared.
    """

    passed: bool
    text: str
    difference: float | None = None


def compare_with_holder(
    challenger: pd.DataFrame | None,
    holder: pd.DataFrame | None,
    metric: Metric,
    *,
    resamples: int = 2000,
    margin: float | None = None,
) -> GateResult:
    """Compare the recorded predictions of two runs on their common test images.

    The challenger passes unless it is found worse (5 % level). With `margin` the 95 % interval of the difference must
    also end above -margin: a test of non-inferiority. What cannot be compared, because predictions are missing or the
    test images differ, does not pass.
    """
    ours, theirs = values_on_test(challenger, metric), values_on_test(holder, metric)
    if ours is None or theirs is None:
        whose = "this run" if ours is None else "the holder's run"
        return GateResult(False, f"cannot be compared: {whose} recorded no test predictions")
    if ours.digest != theirs.digest:
        sizes = f"{ours.values.size:,} (digest {ours.digest}) and {theirs.values.size:,} (digest {theirs.digest})"
        return GateResult(False, f"cannot be compared: evaluated on different test images, {sizes}")
    return _compare(ours, theirs, metric, resamples, margin)


def _compare(ours: TestValues, theirs: TestValues, metric: Metric, resamples: int, margin: float | None) -> GateResult:
    members = [ours.values[None], theirs.values[None]]
    pair = compare_pairs(
        members, ours.codes, exact=metric == "accuracy", shares=metric not in LOSSES, resamples=resamples
    ).iloc[0]
    images, groups = f"{ours.values.size:,} test images", f"{int(ours.codes.max()) + 1:,} groups"
    sign, better = -1 if metric in LOSSES else 1, float(pair["difference"])
    low, difference, high = (sign * pair[name] for name in ("low", "difference", "high"))
    ends = f"[{low:+.4f}, {high:+.4f}]" if metric not in LOSSES else f"[{high:+.4f}, {low:+.4f}]"
    name = metric.replace("_", " ")
    chance = f"p = {pair['p_value']:.2g}" if pair["p_value"] >= 1e-4 else "p < 0.0001"
    text = f"{pair['verdict']}: {name} {difference:+.4f} {ends} on {images} in {groups}, {chance}"
    if pair["verdict"] == SAME:
        needed = pair["images_to_settle"]
        settled = f"; about {needed:,.0f} images would settle it" if np.isfinite(needed) else ""
        text += f"; it may be up to {max(0.0, -pair['low']):.4f} worse{settled}"  # not distinguishable is not equal
    if margin is not None and not pair["low"] > -margin:
        return GateResult(False, f"{text}; the interval does not rule out a loss of {margin:g}, the margin", better)
    return GateResult(pair["verdict"] != WORSE, text, better)
