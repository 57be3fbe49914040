"""Kinds of scores and where their intervals come from: Wilson's, percentiles, or a studentized bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .intervals import (
    MIN_ESTIMATED_GROUPS,
    NORMAL_QUANTILE_95,
    Score,
    effective_groups,
    group_codes,
    group_weights,
    log_odds_interval,
    percentile_interval,
    proportion,
    studentized_interval,
    studentized_replicates,
)

FEW_GROUPS = 20
"""Effective groups of a class below which resamples say too little of an area."""

Floats = NDArray[np.floating]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Predictions:
    """True labels (n,), probabilities (n,) of class 1 in ascending order, and the threshold of a positive answer."""

    truth: Booleans
    probability: Floats
    threshold: float

    @cached_property
    def predicted(self) -> Booleans:
        """Mark those that are predicted positive, (n,)."""
        return self.probability >= self.threshold

    @cached_property
    def confusion(self) -> Floats:
        """True positives, false positives, false negatives and true negatives as columns of 0 and 1, (n, 4)."""
        truth, predicted = self.truth, self.predicted
        return np.column_stack([truth & predicted, ~truth & predicted, truth & ~predicted, ~truth & ~predicted])

    @cached_property
    def block_starts(self) -> NDArray[np.intp] | None:
        """Starts of the runs of equal probabilities; None if all differ."""
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
    """A score that is a share of images: `hits(truth, predicted)` (n,) among the images `among(truth, predicted)`.

    Its interval is Wilson's.
    """

    hits: Callable[[Booleans, Booleans], Booleans]
    among: Callable[[Booleans, Booleans], Booleans] = lambda truth, _: np.ones_like(truth)

    def score(self, truth: Booleans, predicted: Booleans, codes: NDArray[np.intp]) -> Score:
        """The share with its interval; `codes` (n,) is the group of each image."""
        rows = self.among(truth, predicted)
        return proportion(self.hits(truth, predicted)[rows], codes[rows])


@dataclass(frozen=True)
class Resampled:
    """A score whose interval comes from resampled groups: `values` gives it for each resample, (resamples,).

    `at_rates(recall, specificity, positives, negatives)` is the score of a classifier with these rates, or where it is
    not `exact` the least that it can be: an end of the interval where every resample repeats one value. A score that is
    not exact and can be 0 must be 1 less itself where labels are turned.
    """

    values: Callable[[Resamples], Floats]
    at_rates: Callable[[float, float, float, float], float]
    exact: bool = False
    few: Callable[[float, float, float], tuple[float, float]] | None = None
    """Interval of a value by formula, from the effective groups of both classes, where a class has few of them."""

    def score(self, rows: Predictions, codes: NDArray[np.intp], replicates: Floats) -> Score:
        """The score of `rows` with its interval from the values of all resamples."""
        value = float(self.values(Resamples(rows, np.ones((1, codes.size))))[0])
        low, high = percentile_interval(replicates, effective_groups(codes))
        certain = _near(value, 1) or np.isclose(low, high, rtol=0, atol=1e-6)
        ends = [low, value, high, *(_open_ends(self, value, rows, codes) if certain else ())]
        if self.exact and np.isfinite([low, value, high]).all():
            ends += _ends_of_few_answers(self, rows, codes)
        elif 0 < value < 1:
            ends += log_odds_interval(value, replicates, effective_groups(codes))
        if self.few and np.isfinite(value):
            held = [effective_groups(np.unique(codes[rows.truth == label], return_inverse=True)[1]) for label in (1, 0)]
            if min(held) < FEW_GROUPS:
                ends += self.few(value, *held)
        ends = [end for end in ends if np.isfinite(end)] or [value]
        return Score(value, float(min(ends)), float(max(ends)))


@dataclass(frozen=True)
class MeanLoss:
    """A mean of `losses(truth, probability)` (n,), which `largest` bounds; its interval is a studentized bootstrap's.

    Where mistakes, or right answers, lie in too few groups to know how often they come and what they cost, the interval
    also holds the loss at both ends of the accuracy's; what a mistake costs is then that of the same answers to turned
    labels.
    """

    losses: Callable[[Booleans, Floats], Floats]
    largest: float

    def replicates(self, rows: Predictions, codes: NDArray[np.intp], weights: Floats) -> Floats:
        """The studentized means of resamples with group `weights` (resamples, groups)."""
        return studentized_replicates(self.losses(rows.truth, rows.probability), codes, weights)

    def score(self, rows: Predictions, codes: NDArray[np.intp], replicates: Floats) -> Score:
        """The mean loss of `rows` with its interval from the studentized means of all resamples."""
        losses = self.losses(rows.truth, rows.probability)
        value, ends = float(losses.mean()), list(studentized_interval(losses, codes, replicates))
        right = rows.truth == rows.predicted
        if min(np.unique(codes[~right]).size, np.unique(codes[right]).size) < MIN_ESTIMATED_GROUPS:
            turned = self.losses(~rows.truth, rows.probability)
            cheap = float(np.where(right, losses, turned).mean())
            dear = max(float(np.where(right, turned, losses).mean()), cheap)
            accuracy = proportion(right, codes)
            ends += [share * cheap + (1 - share) * dear for share in (accuracy.low, accuracy.high)]
        ends = [value, *(end for end in ends if np.isfinite(end))]
        return Score(value, max(min(ends), 0.0), min(max(ends), self.largest))


def of_confusion(function: Callable[[Floats, Floats, Floats, Floats], Floats]) -> Resampled:
    """A score of true positives, false positives, false negatives and true negatives, each (resamples,)."""

    def at_rates(recall: float, specificity: float, positives: float, negatives: float) -> float:
        hits, alarms = recall * positives, (1 - specificity) * negatives
        return float(_quietly(function, *map(np.asarray, (hits, alarms, positives - hits, negatives - alarms))))

    return Resampled(lambda resamples: _quietly(function, *resamples.confusion), at_rates, exact=True)


def _quietly(function: Callable[..., Floats], *arguments: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without one class has no value, which is nan
        return function(*arguments)


def resampled_scores(
    kinds: Mapping[str, Resampled | MeanLoss], rows: Predictions, codes: NDArray[np.intp], resamples: int, seed: int
) -> dict[str, Score]:
    """Each score of `rows` with its interval from resampled groups; `codes` (n,) is the group of each row."""
    replicates: dict[str, list[Floats]] = {name: [] for name in kinds}
    for weights in group_weights(codes, resamples, seed):
        chunk = Resamples(rows, weights[:, codes])
        for name, kind in kinds.items():
            values = kind.values(chunk) if isinstance(kind, Resampled) else kind.replicates(rows, codes, weights)
            replicates[name].append(values)
    return {name: kind.score(rows, codes, np.concatenate(replicates[name])) for name, kind in kinds.items()}


def _ends_of_few_answers(kind: Resampled, rows: Predictions, codes: NDArray[np.intp]) -> list[float]:
    """Ends of the interval of a score whose right or wrong answers to one class lie in so few groups that resamples do
    not know their variance: few mistakes, or a model that nearly always answers the same.

    They join Wilson's intervals of recall and specificity by the method of variance estimates recovery (Zou and Donner
    2008, doi 10.1002/sim.3095).
    """
    truth, predicted = rows.truth, rows.predicted
    answers = (truth & predicted, truth & ~predicted, ~truth & predicted, ~truth & ~predicted)
    if min(np.unique(codes[cell]).size for cell in answers) >= MIN_ESTIMATED_GROUPS:
        return []
    found = [_rate(predicted[truth], codes[truth]), _rate(~predicted[~truth], codes[~truth])]
    recall, specificity = (rate.value for rate in found)
    counts = float(truth.sum()), float((~truth).sum())
    value = kind.at_rates(recall, specificity, *counts)
    ends = []
    for end, sign in (("low", -1), ("high", 1)):
        first = kind.at_rates(getattr(found[0], end), specificity, *counts) - value
        second = kind.at_rates(recall, getattr(found[1], end), *counts) - value
        ends.append(value + sign * float(np.hypot(first, second)))
    return [end for end in ends if np.isfinite(end)]


def _rate(right: Booleans, codes: NDArray[np.intp]) -> Score:
    """The share of a class that is `right`; 1 with nothing to doubt for a class without images, whose rate counts for
    nothing in a score that is defined without them.
    """
    return proportion(right, codes) if right.size else Score(1.0, 1.0, 1.0)


def _near(value: float, end: float) -> bool:
    return bool(np.isclose(value, end, rtol=0, atol=1e-9))


def _open_ends(kind: Resampled, value: float, rows: Predictions, codes: NDArray[np.intp]) -> list[float]:
    """Ends of the interval of a score that is 1 or that every resample repeats, which else would claim certainty.

    They are the scores of classifiers whose recall and specificity lie at the inner ends of Wilson's intervals of 1 or
    0: of a perfect score, and of a model that is never right, answers one class always or finds no positive.
    """
    truth, predicted = rows.truth, rows.predicted
    positives, negatives = float(truth.sum()), float((~truth).sum())
    recall, specificity = _rate(truth[truth], codes[truth]).low, _rate(~truth[~truth], codes[~truth]).low
    if not kind.exact and _near(value, 0):  # as a 1, of turned labels
        return [1 - kind.at_rates(specificity, recall, negatives, positives)]
    if _near(value, 1):
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


LOG_LOSS_FLOOR = float(np.finfo(np.float32).eps)  # as scikit-learn clips float32 probabilities in log_loss


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
    return np.where(hits + misses > 0, 2 * hits / (2 * hits + alarms + misses), np.nan)


def _matthews(hits: Floats, alarms: Floats, misses: Floats, rejections: Floats) -> Floats:
    """Matthews correlation; 0 where one class is answered always, and nan where there is no image of a class."""
    roots = (np.sqrt(total) for total in (hits + misses, rejections + alarms, hits + alarms, misses + rejections))
    spread = next(roots) * next(roots) * next(roots) * next(roots)
    known = (hits + misses > 0) & (rejections + alarms > 0)
    return np.where(known, np.where(spread > 0, (hits * rejections - alarms * misses) / spread, 0.0), np.nan)


def _roc_auc(resamples: Resamples) -> Floats:
    """Area under the ROC curve, ties counting half."""
    positive, everything = resamples.by_probability
    up_to, positive_up_to = np.cumsum(everything, axis=1), np.cumsum(positive, axis=1)
    positives, total = positive_up_to[:, -1:], up_to[:, -1:]
    negative_below = (up_to - positive_up_to) - (everything - positive) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.einsum("ij,ij->i", positive, negative_below) / (positives * (total - positives))[:, 0])


def auc_interval(value: float, positives: float, negatives: float) -> tuple[float, float]:
    """Interval of an area under the ROC curve from the numbers of both classes: the areas of which `value` is no more
    than 1.96 standard errors away, by the variance of Hanley and McNeil (Newcombe 2006, method 5, doi
    10.1002/sim.2324). It is the whole of 0..1 for a single image of a class, nearly.
    """
    area = np.linspace(0, 1, 10_001)
    mean = (positives + negatives) / 2 - 1
    variance = area * (1 - area) * (1 + mean * (1 - area) / (2 - area) + mean * area / (1 + area))
    near = area[(value - area) ** 2 <= NORMAL_QUANTILE_95**2 * variance / (positives * negatives)]
    return (float(near.min()), float(near.max())) if near.size else (value, value)


def _average_precision(resamples: Resamples) -> Floats:
    """Average precision as scikit-learn defines it: precision at each threshold, weighted by the gain in recall."""
    positive, everything = resamples.by_probability
    from_here = np.cumsum(everything[:, ::-1], axis=1)[:, ::-1]
    positive_from_here = np.cumsum(positive[:, ::-1], axis=1)[:, ::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(from_here > 0, positive_from_here / from_here, 0)
        return np.asarray(np.einsum("ij,ij->i", positive, precision) / positive_from_here[:, 0])


def _log_loss(truth: Booleans, probability: Floats) -> Floats:
    clipped = np.clip(probability, LOG_LOSS_FLOOR, 1 - LOG_LOSS_FLOOR)
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
    "roc_auc": Resampled(_roc_auc, lambda recall, specificity, *_: recall * specificity, few=auc_interval),
    "average_precision": Resampled(_average_precision, _precision_at),
    "log_loss": MeanLoss(_log_loss, largest=-float(np.log(LOG_LOSS_FLOOR))),
    "brier": MeanLoss(lambda truth, probability: (probability - truth) ** 2, largest=1.0),
}
