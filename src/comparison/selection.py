"""What picking the best of several candidates on the same test images makes of its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from ..tracking.read import TIE_BY
from ..tracking.store import DATA_TAG
from .leaderboard import LOSSES, Candidate, Metric

DRAWS = 4000

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Selection:
    """`level` is that of the lower end of the best one's interval at which no choice can flatter it, 0.975 for a
    candidate alone; `optimism` is by how much its mean is too good if all candidates are equally good.
    """

    level: float
    optimism: float

    @classmethod
    def of(cls, covariance: Floats) -> Selection:
        """From the covariance (candidates, candidates) of the candidates' means.

        At that level the lower ends of all intervals hold at once, so the one that is picked holds whatever picked it
        (simultaneous intervals from the largest of correlated normals: Hothorn, Bretz and Westfall 2008, doi
        10.1002/bimj.200810425). The largest is sampled, from a fixed seed.
        """
        error = np.sqrt(np.diag(covariance))
        values, vectors = np.linalg.eigh(covariance)
        normal = np.random.default_rng(0).standard_normal((DRAWS, error.size))
        drawn = normal @ (vectors * np.sqrt(values.clip(0))).T
        standardized = np.divide(drawn, error, out=np.zeros_like(drawn), where=error > 0)
        level = float(ndtr(np.quantile(standardized.max(axis=1), 0.975)))
        return cls(max(level, 0.975), max(float(drawn.max(axis=1).mean()), 0.0))


def picked_on_validation(candidates: Sequence[Candidate], metric: Metric) -> int | None:
    """The candidate of the best mean validation score; None unless all recorded one, on the same validation images.

    Its test score is flattered by no choice, as no test image had a part in it: of equals it is the one of the lowest
    validation log loss, then the one that was begun first, not the first in order of their test scores.
    """
    images = {frozenset(run.tags.get(f"{DATA_TAG}.validation") for run in found.runs) for found in candidates}
    scores = np.array([found.mean_metric(f"validation/{metric}") for found in candidates])
    if len(images) > 1 or not np.isfinite(scores).all():
        return None
    losses = np.array([found.mean_metric(TIE_BY) for found in candidates])
    begun = np.array([min(run.started for run in found.runs) for found in candidates])
    return int(np.lexsort((begun, losses, scores if metric in LOSSES else -scores))[0])
