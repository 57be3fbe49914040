"""Fitting how faces and scene become one probability: two small logistic models on validation images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ..metrics.log_odds import sigmoid
from ..runtime.bundle import Evidence, Fusion, Joining, combine_faces

JOININGS: tuple[Joining, ...] = ("largest", "mean")
SUM_WITH_FACES, SUM_WITHOUT = (0.0, 1.0, 1.0), (0.0, 1.0)
"""Intercept and weights of the plain sum of log-odds: right for models that are calibrated and independent."""

Floats = NDArray[np.float64]


def fit_fusion(labels: NDArray[np.floating], evidence: Sequence[Evidence], unsure_below: float) -> Fusion:
    """The fusion of the smallest cross-entropy on images with `labels` (n,), 0 or 1, and their `evidence`.

    Each of its two models is a logistic regression on log-odds (Platt 1999), with a unit Gaussian prior about their
    plain sum, so that few images change little and none nothing. Of the two ways to join several faces the one that
    fits better is taken. Fused probabilities of either class below `unsure_below` are answered by `unsure`.
    """
    truth = np.asarray(labels, dtype=np.float64)
    found = np.array([item.faces.size > 0 for item in evidence], dtype=bool)
    scene = np.array([item.scene for item in evidence], dtype=np.float64)
    fits: dict[Joining, tuple[Floats, float]] = {}
    for joining in JOININGS:
        joined = np.array([combine_faces(item.faces, item.sides, joining) for item in evidence if item.faces.size])
        fits[joining] = fit_logistic(truth[found], np.stack([joined, scene[found]], axis=-1), SUM_WITH_FACES)
    best = min(JOININGS, key=lambda joining: fits[joining][1])
    without, _ = fit_logistic(truth[~found], scene[~found, None], SUM_WITHOUT)
    intercept, face, weight = fits[best][0].tolist()
    alone, scene_weight = without.tolist()
    return Fusion(
        joining=best,
        with_faces=(intercept, face, weight),
        without_faces=(alone, scene_weight),
        abstain=(1 - unsure_below, unsure_below) if unsure_below > 0.5 else None,
    )


def fit_logistic(truth: Floats, features: Floats, prior: Sequence[float]) -> tuple[Floats, float]:
    """Intercept and weights (1 + k,) for `features` (n, k) and their penalized cross-entropy.

    The prior is Gaussian about `prior` (1 + k,), of standard deviation 1.
    """
    center = np.asarray(prior, dtype=np.float64)
    design = np.column_stack([np.ones(len(truth)), features])

    def loss(weights: Floats) -> tuple[float, Floats]:
        scores, shift = design @ weights, weights - center
        value = np.sum(np.logaddexp(0, scores) - truth * scores) + shift @ shift / 2
        return float(value), design.T @ (sigmoid(scores) - truth) + shift

    found = minimize(loss, center, jac=True, method="L-BFGS-B")
    return np.asarray(found.x, dtype=np.float64), float(found.fun)
