"""How much the mean of a config varies from one trained model to the next, which only several seeds can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..metrics.intervals import NORMAL_QUANTILE_95

POWER_QUANTILE = 0.8416212335729143  # of 80 % power
SEED_SPREAD = 0.4  # standard deviation of a trained model's accuracy in log-odds, where no config has several seeds
MIN_SEEDS = 3  # with fewer, their spread is hardly known

Floats = NDArray[np.floating]


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
