"""Scores of a binary classifier, each with a 95 % interval. Label 1 and probability refer to the positive class.

`SCORES` holds them by name, in the order in which they are shown; one entry more is one score more everywhere. Shares
get Wilson's interval; everything else is computed for resampled groups of pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .intervals import Score, group_codes, group_weights, percentile_interval, proportion

MIN_PROBABILITY = float(np.finfo(np.float32).eps)  # as scikit-learn clips float32 probabilities in log_loss

Floats = NDArray[np.floating]
Booleans = NDArray[np.bool_]


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
    shares = {name: kind for name, kind in SCORES.items() if isinstance(kind, Share)}
    scores = {name: kind.score(truth, probability >= threshold, codes) for name, kind in shares.items()}
    order = np.argsort(probability, kind="stable")
    rows = Predictions(truth[order], probability[order], threshold)
    scores |= _resampled(rows, codes[order], resamples, seed)
    return {name: scores[name] for name in SCORES}


@dataclass(frozen=True)
class Predictions:
    """True labels (n,), probabilities (n,) of class 1 in ascending order, and the threshold of a positive answer."""

    truth: Booleans
    probability: Floats
    threshold: float

    @cached_property
    def predicted(self) -> Booleans:
        """Which are predicted positive, (n,)."""
        return self.probability >= self.threshold

    @cached_property
    def confusion(self) -> Floats:
        """True positives, false positives, false negatives and true negatives as columns of 0 and 1, (n, 4)."""
        truth, predicted = self.truth, self.predicted
        return np.column_stack([truth & predicted, ~truth & predicted, truth & ~predicted, ~truth & ~predicted])

    @cached_property
    def block_starts(self) -> NDArray[np.intp] | None:
        """Where each run of equal probabilities begins; None if all differ."""
        starts = np.flatnonzero(np.r_[True, np.diff(self.probability) > 0])
        return starts if starts.size < self.truth.size else None


@dataclass(frozen=True)
class Resamples:
    """Predictions under row weights (resamples, n), which say how often each was sampled."""

    rows: Predictions
    weights: Floats

    @cached_property
    def confusion(self) -> tuple[Floats, Floats, Floats, Floats]:
        """True positives, false positives, false negatives and true negatives, each (resamples,)."""
        counts = self.weights @ self.rows.confusion.astype(self.weights.dtype)
        return counts[:, 0], counts[:, 1], counts[:, 2], counts[:, 3]

    def mean(self, values: ArrayLike) -> Floats:
        """Means (resamples,) of values (n,), one for each prediction."""
        return np.asarray(self.weights @ np.asarray(values, self.weights.dtype) / self.weights.sum(axis=1))

    @cached_property
    def by_probability(self) -> tuple[Floats, Floats]:
        """Weights of positives and of all at each distinct probability in ascending order, (resamples, distinct)."""
        positive, everything = self.weights * self.rows.truth.astype(self.weights.dtype), self.weights
        if self.rows.block_starts is not None:
            positive = np.add.reduceat(positive, self.rows.block_starts, axis=1)
            everything = np.add.reduceat(everything, self.rows.block_starts, axis=1)
        return positive, everything


@dataclass(frozen=True)
class Share:
    """A score that is a share of pictures: `hits(truth, predicted)` (n,) among the pictures `among(truth, predicted)`.

    Its interval is Wilson's.
    """

    hits: Callable[[Booleans, Booleans], Booleans]
    among: Callable[[Booleans, Booleans], Booleans] = lambda truth, _: np.ones_like(truth)

    def score(self, truth: Booleans, predicted: Booleans, codes: NDArray[np.intp]) -> Score:
        """The share with its interval; `codes` (n,) is the group of each picture."""
        rows = self.among(truth, predicted)
        return proportion(self.hits(truth, predicted)[rows], codes[rows])


@dataclass(frozen=True)
class Resampled:
    """A score whose interval comes from resampled groups: `values` gives it for each resample, (resamples,).

    `at_rates(recall, specificity, positives, negatives)` is the score of a classifier with these rates, or where it is
    not `exact` the least that it can be: an end of the interval where every resample repeats one value.
    """

    values: Callable[[Resamples], Floats]
    at_rates: Callable[[float, float, float, float], float] | None = None
    exact: bool = False


def of_confusion(function: Callable[[Floats, Floats, Floats, Floats], Floats]) -> Resampled:
    """A score of true positives, false positives, false negatives and true negatives, each (resamples,)."""

    def at_rates(recall: float, specificity: float, positives: float, negatives: float) -> float:
        hits, alarms = recall * positives, (1 - specificity) * negatives
        return float(_quietly(function, *map(np.asarray, (hits, alarms, positives - hits, negatives - alarms))))

    return Resampled(lambda resamples: _quietly(function, *resamples.confusion), at_rates, exact=True)


def _quietly(function: Callable[..., Floats], *arguments: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without one class has no value, which is nan
        return function(*arguments)


def _resampled(rows: Predictions, codes: NDArray[np.intp], resamples: int, seed: int) -> dict[str, Score]:
    """The scores that are no shares: value from the rows as they are, interval from resampled groups."""
    kinds = {name: kind for name, kind in SCORES.items() if isinstance(kind, Resampled)}
    chunks = (Resamples(rows, weights[:, codes]) for weights in group_weights(codes, resamples, seed))
    replicates = [{name: kind.values(chunk) for name, kind in kinds.items()} for chunk in chunks]
    once, groups, scores = Resamples(rows, np.ones((1, codes.size))), int(codes.max()) + 1, {}
    for name, kind in kinds.items():
        value = float(kind.values(once)[0])
        low, high = percentile_interval(np.concatenate([chunk[name] for chunk in replicates]), groups)
        certain = np.isclose(value, 1, rtol=0, atol=1e-9) or np.isclose(low, high, rtol=0, atol=1e-6)
        ends = (low, value, high, *(_open_ends(kind, value, rows, codes) if certain else ()))
        scores[name] = Score(value, float(min(ends)), float(max(ends)))
    return scores


def _open_ends(kind: Resampled, value: float, rows: Predictions, codes: NDArray[np.intp]) -> list[float]:
    """Ends of the interval of a score that is 1 or that every resample repeats, which else would claim certainty.

    They are the scores of classifiers whose recall and specificity lie at the inner ends of Wilson's intervals of 1 or
    0: of a perfect score, and of a model that is never right, answers one class always or finds no positive.
    """
    if kind.at_rates is None:
        return []
    truth, predicted = rows.truth, rows.predicted
    positives, negatives = float(truth.sum()), float((~truth).sum())
    recall, specificity = proportion(truth[truth], codes[truth]).low, proportion(~truth[~truth], codes[~truth]).low
    if np.isclose(value, 1, rtol=0, atol=1e-9):
        rates = [(recall, specificity)]
    elif not kind.exact:
        rates = []
    elif predicted.all():
        rates = [(recall, 0.0), (1.0, 1 - specificity)]
    elif not predicted.any():
        rates = [(0.0, specificity), (1 - recall, 1.0)]
    elif not (truth == predicted).any():
        rates = [(1 - recall, 1 - specificity)]
    else:
        rates = [] if (truth & predicted).any() else [(1 - recall, 1.0)]
    return [kind.at_rates(*pair, positives, negatives) for pair in rates]


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


def _log_loss(resamples: Resamples) -> Floats:
    rows = resamples.rows
    clipped = np.clip(rows.probability, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return resamples.mean(-np.log(np.where(rows.truth, clipped, 1 - clipped)))


def _precision_at(recall: float, specificity: float, positives: float, negatives: float) -> float:
    found = recall * positives
    return recall * found / (found + (1 - specificity) * negatives) if positives else float("nan")


SCORES: dict[str, Share | Resampled] = {
    "accuracy": Share(lambda truth, predicted: truth == predicted),
    "balanced_accuracy": of_confusion(_balanced_accuracy),
    "precision": Share(lambda truth, _: truth, among=lambda _, predicted: predicted),
    "recall": Share(lambda _, predicted: predicted, among=lambda truth, _: truth),
    "specificity": Share(lambda _, predicted: ~predicted, among=lambda truth, _: ~truth),
    "f1": of_confusion(_f1),
    "mcc": of_confusion(_matthews),
    "roc_auc": Resampled(_roc_auc, lambda recall, specificity, *_: recall * specificity),
    "average_precision": Resampled(_average_precision, _precision_at),
    "log_loss": Resampled(_log_loss),
    "brier": Resampled(lambda resamples: resamples.mean((resamples.rows.probability - resamples.rows.truth) ** 2)),
}
