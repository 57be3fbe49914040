"""Scores of a binary classifier, each with a 95 % interval. Label 1 and probability refer to the positive class.

`SCORES` holds them by name, in the order in which they are shown; one entry more is one score more everywhere. Shares
get Wilson's interval; the intervals of everything else come from resampled groups of images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .intervals import Score, group_codes
from .resampling import (
    Booleans,
    Floats,
    MeanLoss,
    Predictions,
    Resampled,
    Resamples,
    Share,
    of_confusion,
    resampled_scores,
)

MIN_PROBABILITY = float(np.finfo(np.float32).eps)  # as scikit-learn clips float32 probabilities in log_loss


def score(
    labels: ArrayLike,
    probabilities: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    threshold: float = 0.5,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Score]:
    """All of `SCORES` for labels (n,) in {0, 1} and probabilities (n,) of class 1, in that order.

    An image is predicted positive where its probability is at least `threshold`. `groups` (n,) names the images that
    belong together. Raises ValueError for empty input or shapes that do not fit.
    """
    truth = np.asarray(labels).astype(bool)
    probability = np.asarray(probabilities, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != probability.shape or truth.size == 0:
        raise ValueError(
            f"labels {truth.shape} and probabilities {probability.shape} must be equal, flat and not empty"
        )
    codes = group_codes(groups, truth.size)
    shares = {name: kind for name, kind in SCORES.items() if isinstance(kind, Share)}
    scores = {name: kind.score(truth, probability >= threshold, codes) for name, kind in shares.items()}
    order = np.argsort(probability, kind="stable")
    rows = Predictions(truth[order], probability[order], threshold)
    others = {name: kind for name, kind in SCORES.items() if not isinstance(kind, Share)}
    scores |= resampled_scores(others, rows, codes[order], resamples, seed)
    return {name: scores[name] for name in SCORES}


def _balanced_accuracy(hits: Floats, alarms: Floats, misses: Floats, rejections: Floats) -> Floats:
    return (hits / (hits + misses) + rejections / (rejections + alarms)) / 2


def _f1(hits: Floats, alarms: Floats, misses: Floats, _: Floats) -> Floats:
    return 2 * hits / (2 * hits + alarms + misses)


def _matthews(hits: Floats, alarms: Floats, misses: Floats, rejections: Floats) -> Floats:
    """Matthews correlation; 0 for an empty row or column, as scikit-learn has it."""
    roots = (np.sqrt(total) for total in (hits + misses, rejections + alarms, hits + alarms, misses + rejections))
    spread = next(roots) * next(roots) * next(roots) * next(roots)
    return np.where(spread > 0, (hits * rejections - alarms * misses) / spread, 0.0)


def _roc_auc(resamples: Resamples) -> Floats:
    """Area under the ROC curve, ties counting half."""
    positive, everything = resamples.by_probability
    up_to, positive_up_to = np.cumsum(everything, axis=1), np.cumsum(positive, axis=1)
    positives, total = positive_up_to[:, -1:], up_to[:, -1:]
    negative_below = (up_to - positive_up_to) - (everything - positive) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.einsum("ij,ij->i", positive, negative_below) / (positives * (total - positives))[:, 0])


def _average_precision(resamples: Resamples) -> Floats:
    """Average precision as scikit-learn defines it: precision at each threshold, weighted by the gain in recall."""
    positive, everything = resamples.by_probability
    from_here = np.cumsum(everything[:, ::-1], axis=1)[:, ::-1]
    positive_from_here = np.cumsum(positive[:, ::-1], axis=1)[:, ::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(from_here > 0, positive_from_here / from_here, 0)
        return np.asarray(np.einsum("ij,ij->i", positive, precision) / positive_from_here[:, 0])


def _log_loss(truth: Booleans, probability: Floats) -> Floats:
    clipped = np.clip(probability, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return np.asarray(-np.log(np.where(truth, clipped, 1 - clipped)))


def _precision_at(recall: float, specificity: float, positives: float, negatives: float) -> float:
    found = recall * positives
    return recall * found / (found + (1 - specificity) * negatives) if positives else float("nan")


SCORES: dict[str, Share | Resampled | MeanLoss] = {
    "accuracy": Share(lambda truth, predicted: truth == predicted),
    "balanced_accuracy": of_confusion(_balanced_accuracy),
    "precision": Share(lambda truth, _: truth, among=lambda _, predicted: predicted),
    "recall": Share(lambda _, predicted: predicted, among=lambda truth, _: truth),
    "specificity": Share(lambda _, predicted: ~predicted, among=lambda truth, _: ~truth),
    "f1": of_confusion(_f1),
    "mcc": of_confusion(_matthews),
    "roc_auc": Resampled(_roc_auc, lambda recall, specificity, *_: recall * specificity),
    "average_precision": Resampled(_average_precision, _precision_at),
    "log_loss": MeanLoss(_log_loss, largest=-float(np.log(MIN_PROBABILITY))),
    "brier": MeanLoss(lambda truth, probability: (probability - truth) ** 2, largest=1.0),
}
