"""Scores of a binary classifier, each with a 95 % interval.

Proportions get Wilson's interval, whose number of trials is lowered where pictures of one group go right and wrong
together; everything else gets a bootstrap over groups. Label 1 and probability refer to the positive class (happy).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bootstrap import group_codes, group_weights, percentile_interval

SCORE_NAMES = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "specificity",
    "f1",
    "mcc",
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
)
LOWER_IS_BETTER = frozenset({"log_loss", "brier"})
NORMAL_QUANTILE_95 = 1.959963984540054
MIN_PROBABILITY = float(np.finfo(np.float32).eps)  # as scikit-learn clips float32 probabilities in log_loss

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


def score(
    labels: ArrayLike,
    probabilities: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    threshold: float = 0.5,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Score]:
    """All of `SCORE_NAMES` for labels (n,) in {0, 1} and probabilities (n,) of class 1, in that order.

    A picture is predicted positive where its probability is at least `threshold`. `groups` (n,) names the pictures that
    belong together. Raises ValueError for empty input or shapes that do not fit.
    """
    truth = np.asarray(labels).astype(bool)
    probability = np.asarray(probabilities, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != probability.shape or truth.size == 0:
        raise ValueError(
            f"labels {truth.shape} and probabilities {probability.shape} must be equal, flat and not empty"
        )
    codes = group_codes(groups, truth.size)
    predicted = probability >= threshold
    scores = _proportions(truth, predicted, codes)
    scores |= _resampled(truth, probability, predicted, codes, resamples, seed)
    return {name: scores[name] for name in SCORE_NAMES}


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
        centre = (share + squared / (2 * trials)) / shrink
        half = quantile * np.sqrt(share * (1 - share) / trials + squared / (4 * trials**2)) / shrink
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


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


def _proportions(truth: NDArray[np.bool_], predicted: NDArray[np.bool_], codes: NDArray[np.intp]) -> dict[str, Score]:
    right = truth == predicted
    return {
        "accuracy": proportion(right, codes),
        "precision": proportion(truth[predicted], codes[predicted]),
        "recall": proportion(predicted[truth], codes[truth]),
        "specificity": proportion(~predicted[~truth], codes[~truth]),
    }


def _resampled(
    truth: NDArray[np.bool_],
    probability: Floats,
    predicted: NDArray[np.bool_],
    codes: NDArray[np.intp],
    resamples: int,
    seed: int,
) -> dict[str, Score]:
    """The scores that are no proportions: value from the rows as they are, interval from resampled groups."""
    order = np.argsort(probability, kind="stable")
    truth, codes = truth[order], codes[order]
    rows = _SortedRows.of(truth, probability[order], predicted[order])
    chunks = [rows.scores(weights[:, codes]) for weights in group_weights(codes, resamples, seed)]
    open_ends = _open_ends(truth, predicted[order], codes)
    result = {}
    for name, (value,) in rows.scores(np.ones((1, truth.size))).items():
        replicates = np.concatenate([chunk[name] for chunk in chunks])
        low, high = percentile_interval(replicates, groups=int(codes.max()) + 1)
        ends = (low, value, high, *open_ends.get((name, round(float(value), 9)), ()))
        result[name] = Score(float(value), float(min(ends)), float(max(ends)))
    return result


def _open_ends(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], codes: NDArray[np.intp]
) -> dict[tuple[str, float], tuple[float, ...]]:
    """Ends of the intervals of scores that every resample repeats, by (name, score).

    There an interval of width 0 would claim certainty: at a score of exactly 1 or 0, and where one class is answered
    always. The ends are the scores of classifiers whose recall and specificity lie at the inner ends of Wilson's
    intervals of 1 or 0; one with those rates at some threshold has an area under its ROC curve of at least their
    product.
    """
    positives, negatives = float(truth.sum()), float((~truth).sum())
    recall, specificity = proportion(truth[truth], codes[truth]).low, proportion(~truth[~truth], codes[~truth]).low

    def at(recall: float, specificity: float) -> dict[str, float]:
        hits, alarms = recall * positives, (1 - specificity) * negatives
        counts = map(np.asarray, (hits, alarms, positives - hits, negatives - alarms))
        return {name: float(value) for name, value in _confusion_scores(*counts).items()}

    true_positive, false_positive = recall * positives, (1 - specificity) * negatives
    precision = true_positive / (true_positive + false_positive) if positives else float("nan")
    ends: dict[tuple[str, float], tuple[float, ...]]
    ends = {(name, 1.0): (end,) for name, end in at(recall, specificity).items()}
    ends |= {("roc_auc", 1.0): (recall * specificity,), ("average_precision", 1.0): (recall * precision,)}
    found = (1 - recall) * positives  # as many positives may be found where none was
    ends |= {("f1", 0.0): (2 * found / (found + positives),)} if positives else {}
    if positives and negatives and (predicted.all() or not predicted.any()):
        rates = ((recall, 0.0), (1.0, 1 - specificity)) if predicted.all() else ((0.0, specificity), (1 - recall, 1.0))
        low, high = (at(*pair) for pair in rates)
        ends |= {(name, value): (low[name], high[name]) for name, value in (("balanced_accuracy", 0.5), ("mcc", 0.0))}
    return ends


def _confusion_scores(
    true_positive: Floats, false_positive: Floats, false_negative: Floats, true_negative: Floats
) -> dict[str, Floats]:
    """Balanced accuracy, F1 and Matthews correlation of weighted confusion counts of any equal shape."""
    positive, negative = true_positive + false_negative, true_negative + false_positive
    predicted_positive, predicted_negative = true_positive + false_positive, true_negative + false_negative
    with np.errstate(invalid="ignore", divide="ignore"):
        balanced = (true_positive / positive + true_negative / negative) / 2
        f1 = 2 * true_positive / (2 * true_positive + false_positive + false_negative)
        spread = np.sqrt(positive) * np.sqrt(negative) * np.sqrt(predicted_positive) * np.sqrt(predicted_negative)
        covariance = true_positive * true_negative - false_positive * false_negative
        mcc = np.where(spread > 0, covariance / spread, 0.0)  # scikit-learn's convention for an empty row or column
    return {"balanced_accuracy": balanced, "f1": f1, "mcc": mcc}


@dataclass(frozen=True)
class _SortedRows:
    """Rows in ascending order of probability. `block_starts` opens each run of equal ones; None if all differ."""

    truth: Floats
    additive: Floats
    block_starts: NDArray[np.intp] | None

    @classmethod
    def of(cls, truth: NDArray[np.bool_], probability: Floats, predicted: NDArray[np.bool_]) -> _SortedRows:
        clipped = np.clip(probability, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        additive = np.column_stack(
            [
                truth & predicted,
                ~truth & predicted,
                truth & ~predicted,
                ~truth & ~predicted,
                -np.log(np.where(truth, clipped, 1 - clipped)),
                (probability - truth) ** 2,
            ]
        )
        starts = np.flatnonzero(np.r_[True, np.diff(probability) > 0])
        return cls(truth.astype(np.float32), additive.astype(np.float64), starts if starts.size < truth.size else None)

    def scores(self, weights: Floats) -> dict[str, Floats]:
        """Each score, (resamples,), under row weights (resamples, n)."""
        sums = weights @ self.additive.astype(weights.dtype)
        total = sums[:, :4].sum(axis=1)
        ranking = self._ranking_scores(weights)
        losses = {"log_loss": sums[:, 4] / total, "brier": sums[:, 5] / total}
        return _confusion_scores(*sums[:, :4].T) | ranking | losses

    def _ranking_scores(self, weights: Floats) -> dict[str, Floats]:
        """Area under the ROC curve, ties counting half, and average precision as scikit-learn defines it."""
        positive = weights * self.truth.astype(weights.dtype)
        everything = weights
        if self.block_starts is not None:
            positive = np.add.reduceat(positive, self.block_starts, axis=1)
            everything = np.add.reduceat(everything, self.block_starts, axis=1)
        up_to = np.cumsum(everything, axis=1)
        positive_up_to = np.cumsum(positive, axis=1)
        positives, total = positive_up_to[:, -1:], up_to[:, -1:]
        negative_below = (up_to - positive_up_to) - (everything - positive) / 2
        from_here = total - up_to + everything
        positive_from_here = positives - positive_up_to + positive
        with np.errstate(invalid="ignore", divide="ignore"):
            area = np.einsum("ij,ij->i", positive, negative_below) / (positives * (total - positives))[:, 0]
            precision = np.where(from_here > 0, positive_from_here / from_here, 0)
            average_precision = np.einsum("ij,ij->i", positive, precision) / positives[:, 0]
        return {"roc_auc": area, "average_precision": average_precision}
