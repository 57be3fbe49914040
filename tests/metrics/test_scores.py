import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, ndtr
from sklearn import metrics

from src.metrics.intervals import proportion, wilson_interval
from src.metrics.scores import SCORES, score


def predictions(count: int, seed: int = 0, separation: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = (generator.random(count) < 0.4).astype(int)
    probabilities = 1 / (1 + np.exp(-generator.normal((labels - 0.5) * separation, 1.0)))
    return labels, probabilities


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_scores_agree_with_scikit_learn(ties: bool, threshold: float) -> None:
    labels, probabilities = predictions(500)
    if ties:
        probabilities = probabilities.round(1).clip(0.05, 0.95)
    predicted = probabilities >= threshold
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "precision": metrics.precision_score(labels, predicted),
        "recall": metrics.recall_score(labels, predicted),
        "specificity": metrics.recall_score(labels, predicted, pos_label=0),
        "f1": metrics.f1_score(labels, predicted),
        "mcc": metrics.matthews_corrcoef(labels, predicted),
        "roc_auc": metrics.roc_auc_score(labels, probabilities),
        "average_precision": metrics.average_precision_score(labels, probabilities),
        "log_loss": metrics.log_loss(labels, probabilities),
        "brier": metrics.brier_score_loss(labels, probabilities),
    }
    scores = score(labels, probabilities, threshold=threshold, resamples=100)
    assert list(scores) == list(SCORES)
    assert {name: found.value for name, found in scores.items()} == pytest.approx(expected, abs=1e-9)
    assert all(found.low <= found.value <= found.high for found in scores.values())


def test_wilson_interval_matches_published_examples_and_scipy() -> None:
    # Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3: 81/263, 15/148, 0/20, 1/29
    for successes, trials, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        found = wilson_interval(successes / trials, trials)
        assert found == pytest.approx((low, high), abs=5e-5)
        exact = stats.binomtest(successes, trials).proportion_ci(method="wilson")
        assert found == pytest.approx((exact.low, exact.high))


def test_groups_that_err_together_widen_the_interval() -> None:
    hits = np.random.default_rng(0).random(100) < 0.8
    alone = proportion(hits)
    copied = proportion(np.repeat(hits, 4), np.repeat(np.arange(100), 4))
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))
    all_right = proportion(np.ones(400), np.repeat(np.arange(100), 4))
    assert all_right.low == pytest.approx(float(wilson_interval(1.0, 100)[0]))


def test_bootstrap_draws_whole_groups() -> None:
    labels, probabilities = predictions(150)
    alone = score(labels, probabilities, seed=1)
    copied = score(np.repeat(labels, 5), np.repeat(probabilities, 5), np.repeat(np.arange(150), 5), seed=1)
    for name in SCORES:
        assert copied[name].high - copied[name].low == pytest.approx(alone[name].high - alone[name].low, rel=0.05)


def test_intervals_cover_the_truth_in_93_to_97_percent_of_samples() -> None:
    labels, probabilities = predictions(200_000, seed=1)
    truth = {name: found.value for name, found in score(labels, probabilities, resamples=1).items()}
    covered = dict.fromkeys(SCORES, 0)
    trials = 1000
    generator = np.random.default_rng(2)
    for trial in range(trials):
        rows = generator.integers(0, labels.size, 400)
        found = score(labels[rows], probabilities[rows], resamples=200, seed=trial)
        for name in SCORES:
            covered[name] += found[name].low <= truth[name] <= found[name].high
    shares = {name: count / trials for name, count in covered.items()}
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares


def test_perfect_predictions_do_not_claim_certainty() -> None:
    labels = np.repeat([0, 1], 15)
    scores = score(labels, np.where(labels == 1, 0.9, 0.1), resamples=200)
    for name in ("accuracy", "balanced_accuracy", "f1", "mcc", "roc_auc", "average_precision"):
        assert scores[name].value == pytest.approx(1.0)
        assert scores[name].high == pytest.approx(1.0)
        assert 0.4 < scores[name].low < 0.95


def test_a_model_that_is_always_wrong_claims_no_certainty() -> None:
    labels = np.repeat([0, 1], 15)
    scores = score(labels, np.where(labels == 1, 0.1, 0.9), resamples=200)
    assert (scores["balanced_accuracy"].value, scores["mcc"].value) == (0.0, pytest.approx(-1.0))
    assert scores["balanced_accuracy"].high > 0.1
    assert scores["mcc"].high > -0.8


def test_finding_no_positive_does_not_claim_certainty() -> None:
    found = score(np.repeat([0, 1], 15), np.full(30, 0.1), resamples=200)["f1"]
    assert (found.value, found.low) == (0.0, 0.0)
    assert 0.2 < found.high < 0.5


def test_right_answers_to_one_class_alone_claim_no_certainty() -> None:
    scores = score([1] * 10, [0.9] * 10, resamples=200)
    recall = scores["recall"].low
    assert scores["f1"].low == pytest.approx(2 * recall / (1 + recall))
    assert scores["average_precision"].low == pytest.approx(recall)
    one_mistake = score([1] * 10, [0.9] * 9 + [0.1], resamples=200)
    assert one_mistake["f1"].low < scores["f1"].low


@pytest.mark.parametrize("count", [1, 15])
def test_an_area_of_0_is_as_uncertain_as_one_of_1(count: int) -> None:
    labels = np.repeat([0, 1], [count, 2 * count])
    right = score(labels, np.where(labels == 1, 0.9, 0.1), resamples=200)["roc_auc"]
    wrong = score(labels, np.where(labels == 1, 0.1, 0.9), resamples=200)["roc_auc"]
    assert (right.value, wrong.value, wrong.low) == (1.0, 0.0, 0.0)
    assert wrong.high == pytest.approx(1 - right.low)
    assert 0.1 < wrong.high < 1


def test_undefined_scores_are_nan_and_the_others_stand() -> None:
    scores = score([1, 1, 1, 1], [0.2, 0.3, 0.7, 0.8], threshold=0.9, resamples=100)
    assert np.isnan(scores["precision"].value)
    assert np.isnan(scores["roc_auc"].value)
    assert scores["recall"].value == 0.0
    assert scores["brier"].value == pytest.approx(np.mean([0.64, 0.49, 0.09, 0.04]))


def test_misfit_or_empty_input_is_rejected() -> None:
    with pytest.raises(ValueError, match="equal, flat and not empty"):
        score([1, 0], [0.5])
    with pytest.raises(ValueError, match="equal, flat and not empty"):
        score([], [])


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_model_of_one_answer_claims_no_certainty(threshold: float) -> None:
    labels = np.repeat([0, 1], 30)
    found = score(labels, np.random.default_rng(0).uniform(0.4, 0.6, 60), threshold=threshold)
    for name, middle in (("balanced_accuracy", 0.5), ("mcc", 0.0)):
        assert found[name].low < middle - 0.04
        assert found[name].high > middle + 0.04


def copies(sizes: list[int], accuracy: float, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Labels, probabilities and groups of images that come in groups of copies."""
    label = generator.random(len(sizes)) < 0.5
    noise = generator.standard_normal(len(sizes)) + np.where(label, 1, -1) * stats.norm.ppf(accuracy)
    return tuple(np.repeat(values, sizes) for values in (label, 1 / (1 + np.exp(-noise)), np.arange(len(sizes))))


@pytest.mark.parametrize("sizes", [[1, 1, 2, 2, 3, 4, 7, 10], [1, 2, 4, 8, 16, 32, 64, 128], [3] * 8])
@pytest.mark.parametrize("accuracy", [0.5, 0.7, 0.9])
def test_intervals_of_8_unequal_groups_cover_the_truth(sizes: list[int], accuracy: float) -> None:
    generator, covered = np.random.default_rng(0), 0
    for _ in range(600):
        label, probability, groups = copies(sizes, accuracy, generator)
        found = proportion((probability >= 0.5) == label, groups)
        covered += found.low <= accuracy <= found.high
    assert covered / 600 >= 0.93


def test_resampled_scores_of_8_unequal_groups_cover_the_truth() -> None:
    generator = np.random.default_rng(1)
    names = ("balanced_accuracy", "f1", "roc_auc", "log_loss", "brier")
    truth = score(*copies([1] * 100_000, 0.7, generator)[:2], resamples=1)
    covered: dict[str, list[bool]] = {name: [] for name in names}
    for trial in range(300):
        found = score(*copies([1, 1, 2, 2, 3, 4, 7, 10], 0.7, generator), resamples=400, seed=trial)
        for name in names:
            if np.isfinite(found[name].low):
                covered[name].append(found[name].low <= truth[name].value <= found[name].high)
    shares = {name: np.mean(held) for name, held in covered.items()}
    assert all(share >= 0.92 for share in shares.values()), shares


def test_a_few_mistakes_among_many_images_keep_the_interval_open_where_wilsons_own_covers_too_little() -> None:
    errors = np.random.default_rng(2).binomial(100, 0.01, 2000)
    scores = [proportion(np.arange(100) >= count) for count in range(errors.max() + 1)]
    assert np.mean([scores[count].low <= 0.99 <= scores[count].high for count in errors]) >= 0.93


def test_groups_are_counted_as_copies_where_nothing_else_can_be_known() -> None:
    one_group = proportion([1, 1, 1, 0], [0, 0, 0, 0])
    low, high = wilson_interval(0.75, 1)
    assert one_group.low <= low < high <= one_group.high
    hits = np.random.default_rng(3).random(600) < 0.8
    own_answers = proportion(hits, np.arange(600) // 2)  # many mistakes: the pairs' own answers are seen to differ
    assert own_answers.high - own_answers.low < 1.1 * (proportion(hits).high - proportion(hits).low)


def test_the_interval_of_a_chance_model_that_nearly_always_says_the_same_holds_one_half() -> None:
    # Resamples of its few answers of the other kind know too little: alone they held 88 % of the time.
    generator, held = np.random.default_rng(5), []
    for seed in range(200):
        truth, says_happy = generator.random(44) < 0.5, generator.random(44) < 0.1
        balanced = score(truth, np.where(says_happy, 0.9, 0.1), resamples=200, seed=seed)["balanced_accuracy"]
        held += [balanced.low <= 0.5 <= balanced.high]
    assert np.mean(held) >= 0.95


@pytest.mark.parametrize("positives", [1, 3, 10])
def test_intervals_of_the_area_hold_it_where_few_images_are_positive(positives: int) -> None:
    random, labels = np.random.default_rng(0), np.arange(100) < positives
    held = 0
    for trial in range(60):
        logits = random.normal(size=100) + 2 * labels  # an area of Phi(sqrt 2)
        area = score(labels, expit(logits - 1), resamples=100, seed=trial)["roc_auc"]
        held += area.low <= ndtr(np.sqrt(2)) <= area.high
    assert held >= 54


def test_what_is_not_defined_without_a_class_says_so_and_a_model_that_is_never_right_is_not_certain() -> None:
    none = score(np.zeros(20), np.full(20, 0.7))
    assert {name for name, found in none.items() if np.isnan(found.value)} >= {"recall", "f1", "mcc", "roc_auc"}
    wrong = score(np.arange(40) % 2, 0.99 - 0.98 * (np.arange(40) % 2))["log_loss"]
    assert wrong.low < wrong.value - 0.1
