import numpy as np
import pytest
from scipy.special import expit

from src.config import EvaluationConfig, ThresholdConfig
from src.metrics.calibration import (
    Decision,
    abstain_band,
    apply_temperature,
    calibration_error_by_chance,
    choose_threshold,
    coverage_curve,
    expected_calibration_error,
    fit_temperature,
)


def calibrated_predictions(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    probabilities = expit(generator.normal(0, 2, count))
    return (generator.random(count) < probabilities).astype(int), probabilities


def test_temperature_mends_a_miscalibrated_model() -> None:
    labels, probabilities = calibrated_predictions(4000)
    overconfident = apply_temperature(probabilities, 1 / 3)
    before = expected_calibration_error(labels, overconfident)
    temperature = fit_temperature(labels[:2000], overconfident[:2000])
    mended = apply_temperature(overconfident[2000:], temperature)
    after = expected_calibration_error(labels[2000:], mended)
    assert temperature == pytest.approx(3.0, rel=0.1)
    assert before > 0.1
    assert after < 0.03


def test_temperature_of_separated_predictions_stays_finite_and_lets_errors_be_survived() -> None:
    labels = np.repeat([0, 1], 50)
    probabilities = np.where(labels == 1, 0.99, 0.01)
    temperature = fit_temperature(labels, probabilities)
    assert apply_temperature([0.99], temperature)[0] == pytest.approx(51 / 52, abs=1e-3)


def test_temperature_needs_both_classes() -> None:
    assert fit_temperature([1, 1], [0.4, 0.9]) == 1.0


def test_saturated_probabilities_stay_finite() -> None:
    assert np.isfinite(apply_temperature([0.0, 1.0], 0.5)).all()


def test_balanced_accuracy_threshold_is_the_best_of_all() -> None:
    labels, probabilities = calibrated_predictions(300)
    probabilities = probabilities**2
    chosen = choose_threshold(labels, probabilities, ThresholdConfig())

    def balanced(threshold: float) -> float:
        predicted = probabilities >= threshold
        return float((predicted[labels == 1].mean() + (~predicted[labels == 0]).mean()) / 2)

    assert balanced(chosen) == pytest.approx(max(balanced(t) for t in np.linspace(0, 1, 2001)), abs=1e-9)
    assert balanced(chosen) > balanced(0.5)


def test_separated_predictions_keep_the_threshold_at_one_half() -> None:
    labels = np.repeat([0, 1], 20)
    assert choose_threshold(labels, np.where(labels == 1, 0.8, 0.3), ThresholdConfig()) == 0.5


@pytest.mark.parametrize(("policy", "other"), [("precision", "recall"), ("recall", "precision")])
def test_named_precision_or_recall_is_reached(policy: str, other: str) -> None:
    labels, probabilities = calibrated_predictions(1000)
    threshold = choose_threshold(labels, probabilities, ThresholdConfig(policy=policy, target=0.9))
    predicted = probabilities >= threshold
    reached = {"precision": labels[predicted].mean(), "recall": predicted[labels == 1].mean()}
    assert reached[policy] >= 0.9
    assert reached[other] > 0.3


def test_an_unreachable_precision_comes_as_near_as_it_can() -> None:
    labels, probabilities = np.array([1, 0, 0, 0]), np.array([0.2, 0.9, 0.8, 0.1])
    threshold = choose_threshold(labels, probabilities, ThresholdConfig(policy="precision", target=0.9))
    predicted = probabilities >= threshold
    assert labels[predicted].mean() == pytest.approx(1 / 3)


def test_a_dearer_false_positive_raises_the_threshold() -> None:
    labels, probabilities = calibrated_predictions(5000)
    cheap, dear = (
        choose_threshold(labels, probabilities, ThresholdConfig(policy="cost", false_positive_cost=cost))
        for cost in (0.25, 4.0)
    )
    assert cheap == pytest.approx(0.2, abs=0.07)  # on calibrated predictions: cost / (1 + cost)
    assert dear == pytest.approx(0.8, abs=0.07)


def test_fixed_threshold_is_taken_as_it_is() -> None:
    labels, probabilities = calibrated_predictions(100)
    assert choose_threshold(labels, probabilities, ThresholdConfig(policy="fixed", value=0.7)) == 0.7


def test_answering_only_certain_images_is_more_accurate_and_reaches_the_wanted_accuracy() -> None:
    labels, probabilities = calibrated_predictions(2000)
    curve = coverage_curve(labels, probabilities, 0.5)
    assert curve.accuracy[-1] == pytest.approx(((probabilities >= 0.5) == labels).mean())
    assert curve.accuracy[199] > curve.accuracy[-1] + 0.1
    low, high = abstain_band(labels, probabilities, 0.5, 0.9)
    answered = ~((probabilities > low) & (probabilities < high))
    assert ((probabilities >= 0.5) == labels)[answered].mean() >= 0.9
    assert answered.mean() > 0.3
    assert low == pytest.approx(1 - high)


def test_equally_confident_images_are_answered_together_or_not_at_all() -> None:
    half_right = [1, 0, 1, 0] * 25
    assert abstain_band(half_right, [0.6] * 100, 0.5, 0.95) == (0.0, 1.0)
    mirrored = np.tile([0.6, 0.6, 0.4, 0.4], 25)  # as confident, but for rounding
    assert abstain_band(half_right, mirrored, 0.5, 0.95) == (0.0, 1.0)
    surer, labels = np.r_[np.full(100, 0.6), np.full(100, 0.9)], np.r_[half_right, np.ones(100)]
    low, high = abstain_band(labels, surer, 0.5, 0.95)
    assert 0.6 < high < 0.9
    assert low == pytest.approx(1 - high)
    assert abstain_band(labels, surer, 0.5, 0.75) == (0.5, 0.5)


def test_a_decision_is_fitted_in_the_order_it_is_applied() -> None:
    labels, probabilities = calibrated_predictions(2000)
    uncalibrated = apply_temperature(probabilities, 0.5)
    decision = Decision.fit(labels, uncalibrated, EvaluationConfig(abstain_accuracy=0.9))
    calibrated = apply_temperature(uncalibrated, decision.temperature)
    answered = decision.answered(calibrated)
    assert ((calibrated >= decision.threshold) == labels)[answered].mean() >= 0.9
    assert Decision.fit(labels, uncalibrated, EvaluationConfig(calibrate=False)).temperature == 1.0
    assert Decision().answered(calibrated).all()


def test_few_validation_images_leave_threshold_and_temperature_alone() -> None:
    labels, probabilities = np.arange(18) % 2, np.linspace(0.6, 0.9, 18)
    assert Decision.fit(labels, probabilities, EvaluationConfig()) == Decision(
        0.5, 1.0, None, fitted=False, calibrated=False
    )
    recall = EvaluationConfig(threshold=ThresholdConfig(policy="recall", target=0.9))
    assert Decision.fit(labels, probabilities, recall).threshold != 0.5  # asked for
    labels, probabilities = calibrated_predictions(200)
    assert Decision.fit(labels, apply_temperature(probabilities, 0.4), EvaluationConfig()).fitted


def test_decisions_on_few_images_are_no_worse_than_none_on_average() -> None:
    labels, probabilities = calibrated_predictions(20_000)
    gains = []
    for seed in range(60):
        decision = Decision.fit(*calibrated_predictions(18, seed), EvaluationConfig())
        calibrated = apply_temperature(probabilities, decision.temperature)
        right = np.where(labels == 1, calibrated, 1 - calibrated)
        gains.append(np.log(right).mean() - np.log(np.where(labels == 1, probabilities, 1 - probabilities)).mean())
    assert np.mean(gains) > -0.001


def test_no_calibration_error_below_40_images() -> None:
    labels = np.arange(39) % 2
    assert np.isnan(expected_calibration_error(labels, 1.0 - labels))  # always wrong, and right on average
    assert np.isnan(calibration_error_by_chance(1.0 - labels))
    labels = np.arange(40) % 2
    assert expected_calibration_error(labels, 1.0 - labels) == 1.0


def test_a_calibrated_model_shows_the_calibration_error_of_chance() -> None:
    found = [expected_calibration_error(*calibrated_predictions(100, seed)) for seed in range(200)]
    by_chance = [calibration_error_by_chance(calibrated_predictions(100, seed)[1]) for seed in range(5)]
    assert np.mean(by_chance) == pytest.approx(np.mean(found), rel=0.1)
    assert calibration_error_by_chance(calibrated_predictions(4000)[1]) < np.mean(by_chance) / 3
