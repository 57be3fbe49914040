"""Fits on validation, and only there: a temperature, a threshold and a band in which to abstain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from ..config import EvaluationConfig, ThresholdConfig
from .log_odds import apply_temperature, log_odds, sigmoid

MAX_BINS, MIN_BIN_SIZE, MIN_BINS = 15, 20, 2
CHANCE_DRAWS = 200
# Of either class. With fewer, a temperature and a threshold fitted to calibrated predictions cost more than they gain:
# 0.08 of log loss and 0.025 of balanced accuracy at 9, 0.02 and 0.01 at 30, 0.01 and 0.01 at 50.
MIN_FITTED = 50
SAME_CONFIDENCE = 1e-9  # in log-odds: less is rounding, as between 0.4 and 0.6 about a threshold of 0.5
LOG_TEMPERATURE_RANGE = (np.log(0.05), np.log(20.0))

Floats = NDArray[np.floating]


def fit_temperature(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The temperature of the smallest cross-entropy (Guo et al. 2017, arXiv 1706.04599); 1 without both classes.

    The targets are Platt's (1999): (n1 + 1) / (n1 + 2) and 1 / (n0 + 2). With plain 0 and 1 a perfectly separated
    validation split would ask for infinite certainty.
    """
    truth = np.asarray(labels).astype(bool)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        return 1.0
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    scores = log_odds(probabilities)

    def cross_entropy(log_temperature: float) -> float:
        scaled = scores / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - target * scaled))

    return float(np.exp(minimize_scalar(cross_entropy, bounds=LOG_TEMPERATURE_RANGE, method="bounded").x))


def at_its_bound(temperature: float) -> bool:
    """Return whether a fitted temperature lies at an end of the range that is searched: the fit found no optimum."""
    return bool(np.isclose(np.log(temperature), LOG_TEMPERATURE_RANGE, atol=0.01).any())


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean distance of share and probability over bins of equally many images (Nguyen and O'Connor 2015).

    It is nan below 40 images: in a single bin a model that is always wrong may show none.
    """
    table = reliability(labels, probabilities)
    if table.count.sum() < MIN_BINS * MIN_BIN_SIZE:
        return float("nan")
    return float(np.average(np.abs(table.observed - table.predicted), weights=table.count))


def calibration_error_by_chance(probabilities: ArrayLike) -> float:
    """The mean calibration error that a perfectly calibrated model of these probabilities (n,) would show.

    Its labels are drawn from its probabilities, from a fixed seed (the consistency resampling of Broecker and Smith
    2007, doi 10.1175/WAF993.1); nan where the calibration error is.
    """
    probability = np.asarray(probabilities, dtype=np.float64)
    generator = np.random.default_rng(0)
    draws = (generator.random(probability.size) < probability for _ in range(CHANCE_DRAWS))
    return float(np.mean([expected_calibration_error(labels, probability) for labels in draws]))


@dataclass(frozen=True)
class Reliability:
    """One entry per bin: mean probability, share of positives, number of images."""

    predicted: Floats
    observed: Floats
    count: NDArray[np.integer]


def reliability(labels: ArrayLike, probabilities: ArrayLike) -> Reliability:
    """Images sorted by probability and cut into bins of equal size: at most 15, of about 20 images or more."""
    probability = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(probability, kind="stable")
    bins = np.array_split(order, max(1, min(MAX_BINS, order.size // MIN_BIN_SIZE)))
    truth = np.asarray(labels, dtype=np.float64)
    return Reliability(
        predicted=np.array([probability[rows].mean() for rows in bins]),
        observed=np.array([truth[rows].mean() for rows in bins]),
        count=np.array([rows.size for rows in bins]),
    )


def choose_threshold(labels: ArrayLike, probabilities: ArrayLike, config: ThresholdConfig) -> float:
    """The threshold that `config` asks for on these (validation) predictions.

    Candidates lie midway between neighboring probabilities; among equally good ones the one nearest to 0.5 is taken.
    Where `target` cannot be reached, the threshold that comes nearest to it is. Without both classes it is `value`.
    """
    truth = np.asarray(labels).astype(bool)
    if config.policy == "fixed" or truth.all() or not truth.any():
        return config.value
    candidates = _candidates(np.asarray(probabilities, dtype=np.float64))
    quality = _threshold_quality(_confusion_at(truth, np.asarray(probabilities), candidates), config)
    best = candidates[quality >= quality.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def _candidates(probabilities: Floats) -> Floats:
    distinct = np.unique(np.r_[0.0, probabilities, 1.0])
    midway = (distinct[:-1] + distinct[1:]) / 2
    return np.unique(np.r_[midway, 0.5])


@dataclass(frozen=True)
class _Confusion:
    """Counts per candidate threshold, predicted positive at or above it."""

    true_positive: Floats
    false_positive: Floats
    positives: int
    negatives: int


def _confusion_at(truth: NDArray[np.bool_], probabilities: Floats, thresholds: Floats) -> _Confusion:
    positive, negative = np.sort(probabilities[truth]), np.sort(probabilities[~truth])
    return _Confusion(
        true_positive=(positive.size - np.searchsorted(positive, thresholds)).astype(float),
        false_positive=(negative.size - np.searchsorted(negative, thresholds)).astype(float),
        positives=positive.size,
        negatives=negative.size,
    )


def _threshold_quality(counts: _Confusion, config: ThresholdConfig) -> Floats:
    """A number per candidate, larger is better."""
    recall = counts.true_positive / counts.positives
    specificity = 1 - counts.false_positive / counts.negatives
    predicted = counts.true_positive + counts.false_positive
    precision = np.divide(counts.true_positive, predicted, out=np.zeros_like(predicted), where=predicted > 0)
    if config.policy == "precision":
        return _reach(precision, config.target, recall)
    if config.policy == "recall":
        return _reach(recall, config.target, precision)
    if config.policy == "cost":
        return -(counts.positives - counts.true_positive) - config.false_positive_cost * counts.false_positive
    return (recall + specificity) / 2


def _reach(reached: Floats, target: float, then: Floats) -> Floats:
    """Candidates that reach the target are ranked by `then`; all others come below, ranked by how near they are."""
    return np.where(reached >= target, 2 + then, reached)


def confidence(probabilities: ArrayLike, threshold: float) -> Floats:
    """Distance from the threshold in log-odds: what an image must exceed to be answered."""
    return np.abs(log_odds(probabilities) - log_odds(threshold))


@dataclass(frozen=True)
class CoverageCurve:
    """Accuracy of the most certain share of images, and the smallest confidence among them; one entry per image."""

    coverage: Floats
    accuracy: Floats
    confidence: Floats


def coverage_curve(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> CoverageCurve:
    """Accuracy against coverage when the least certain images are left unanswered (Geifman and El-Yaniv 2017)."""
    probability = np.asarray(probabilities, dtype=np.float64)
    certain = confidence(probability, threshold)
    order = np.argsort(-certain, kind="stable")
    right = ((probability >= threshold) == np.asarray(labels).astype(bool))[order]
    answered = np.arange(1, right.size + 1)
    return CoverageCurve(answered / right.size, np.cumsum(right) / answered, certain[order])


def abstain_band(labels: ArrayLike, probabilities: ArrayLike, threshold: float, accuracy: float) -> tuple[float, float]:
    """Probabilities between which to abstain, so that the rest reaches `accuracy` on these (validation) predictions.

    The band is the narrowest one, symmetric in log-odds about the threshold; it is (threshold, threshold), empty,
    where all images reach it and (0, 1) where none do. Equally confident images are answered all or none.
    """
    curve = coverage_curve(labels, probabilities, threshold)
    ends_tie = np.append(-np.diff(curve.confidence) > SAME_CONFIDENCE, True)
    reached = np.flatnonzero(ends_tie & (curve.accuracy >= accuracy))
    if reached.size == 0:
        return 0.0, 1.0
    last = int(reached[-1])
    if last == curve.coverage.size - 1:
        return threshold, threshold
    half = (curve.confidence[last] + curve.confidence[last + 1]) / 2
    center = float(log_odds(threshold))
    return float(sigmoid(center - half)), float(sigmoid(center + half))


@dataclass(frozen=True)
class Decision:
    """The rule by which a model's probability becomes an answer; stored with the model.

    The probability is first divided by `temperature` in log-odds; at or above `threshold` the answer is the positive
    class; inside `abstain` (low, high), ends excluded, there is none. `fitted` says that the threshold was chosen on
    validation, `calibrated` that the temperature was.
    """

    threshold: float = 0.5
    temperature: float = 1.0
    abstain: tuple[float, float] | None = None
    fitted: bool = True
    calibrated: bool = True

    @classmethod
    def fit(cls, labels: ArrayLike, probabilities: ArrayLike, config: EvaluationConfig) -> Decision:
        """The decision that `config` asks for, fitted on validation labels (n,) and the model's probabilities (n,).

        With fewer than 50 images of either class the temperature stays 1 and the threshold `config.threshold.value`,
        unless a precision, a recall or a cost is asked for.
        """
        enough = int(np.bincount(np.asarray(labels).astype(int), minlength=2).min()) >= MIN_FITTED
        calibrate = config.calibrate and enough
        temperature = fit_temperature(labels, probabilities) if calibrate else 1.0
        calibrated = apply_temperature(probabilities, temperature)
        policy = config.threshold.policy
        choose = policy != "fixed" and (enough or policy != "balanced_accuracy")
        threshold = choose_threshold(labels, calibrated, config.threshold) if choose else config.threshold.value
        band = None
        if config.abstain_accuracy is not None:
            band = abstain_band(labels, calibrated, threshold, config.abstain_accuracy)
        return cls(threshold, temperature, band, choose, calibrate)

    def answered(self, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """Mark the calibrated probabilities that get an answer."""
        probability = np.asarray(probabilities, dtype=np.float64)
        low, high = self.abstain or (1.0, 0.0)
        return ~((probability > low) & (probability < high))
