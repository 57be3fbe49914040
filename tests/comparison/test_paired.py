import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from src.comparison.paired import Sample, compare_pairs, holm, mcnemar_exact


def right_predictions(count: int, accuracy: float, generator: np.random.Generator) -> np.ndarray:
    """(1, count): right or wrong, each image for itself."""
    return (generator.random(count) < accuracy)[None].astype(float)


def test_mcnemar_matches_a_published_example_and_the_binomial_test() -> None:
    # Fay 2010 (R Journal 2:53, exact2x2's vignette): discordant pairs 9 and 2, exact p = 0.06543
    assert mcnemar_exact(9, 2) == pytest.approx(0.06543, abs=5e-6)
    assert mcnemar_exact(4, 4) == 1.0
    assert mcnemar_exact(0, 0) == 1.0
    for first, second in [(13, 4), (1, 20), (60, 80)]:
        expected = stats.binomtest(first, first + second).pvalue
        assert mcnemar_exact(first, second) == pytest.approx(expected)


def test_holm_matches_a_worked_example() -> None:
    # Holm 1979 as worked in Wikipedia: p = 0.01, 0.04, 0.03, 0.005 gives 0.03, 0.06, 0.06, 0.02
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_the_p_value_of_two_single_models_is_mcnemars() -> None:
    generator = np.random.default_rng(0)
    first, second = right_predictions(400, 0.9, generator), right_predictions(400, 0.8, generator)
    only_first, only_second = ((first > second).sum(), (first < second).sum())
    pair = compare_pairs([first, second], np.arange(400), exact=True).iloc[0]
    assert pair["p_value"] == pytest.approx(stats.binomtest(only_first, only_first + only_second).pvalue)
    assert pair["difference"] == pytest.approx(first.mean() - second.mean())
    assert pair["verdict"] == "better"


def test_two_identical_models_are_found_different_in_under_5_percent_of_400_trials() -> None:
    generator = np.random.default_rng(1)
    found = covered = 0
    for trial in range(400):
        hard = generator.random(500) < 0.2
        chance = np.where(hard, 0.5, 0.95)
        first, second = ((generator.random(500) < chance)[None].astype(float) for _ in range(2))
        pair = compare_pairs([first, second], np.arange(500), exact=True, resamples=400, seed=trial).iloc[0]
        found += pair["verdict"] != "not distinguishable"
        covered += pair["low"] <= 0 <= pair["high"]
    assert found < 20
    assert 0.93 <= covered / 400 <= 0.97


def test_seeds_that_scatter_make_two_identical_configs_indistinguishable() -> None:
    generator = np.random.default_rng(2)
    found = 0
    for trial in range(200):
        accuracies = 0.85 + generator.normal(0, 0.03, (2, 2))
        members = [np.concatenate([right_predictions(1000, value, generator) for value in row]) for row in accuracies]
        found += (
            compare_pairs(members, np.arange(1000), exact=True, resamples=200, seed=trial)["verdict"][0]
            != "not distinguishable"
        )
    assert found < 20


def test_a_better_config_is_found_over_seeds() -> None:
    generator = np.random.default_rng(3)
    members = [np.concatenate([right_predictions(1500, value, generator) for _ in range(3)]) for value in (0.85, 0.92)]
    pair = compare_pairs(members, np.arange(1500), exact=True).iloc[0]
    assert pair["verdict"] == "worse"
    assert pair["low"] < -0.07 < pair["high"] < 0


def test_copies_of_images_do_not_sharpen_a_comparison() -> None:
    generator = np.random.default_rng(4)
    members = [right_predictions(300, value, generator) for value in (0.8, 0.9)]
    copied = [np.repeat(values, 4, axis=1) for values in members]
    alone = compare_pairs(members, np.arange(300), exact=True).iloc[0]
    grouped = compare_pairs(copied, np.arange(300).repeat(4), exact=True).iloc[0]
    assert grouped["p_value"] == pytest.approx(alone["p_value"])
    assert grouped["high"] - grouped["low"] == pytest.approx(alone["high"] - alone["low"], rel=1e-3)


def test_images_to_settle_is_enough_for_80_percent_power() -> None:
    generator = np.random.default_rng(5)
    truth = [0.86, 0.88]
    # The expected differences, so that the answer is about the truth and not about one draw
    only_first, only_second, count = round(1e4 * 0.86 * 0.12), round(1e4 * 0.88 * 0.14), 10_000
    first, second = np.zeros((2, 1, count))
    first[0, :only_first] = 1
    second[0, only_first : only_first + only_second] = 1
    needed = int(compare_pairs([first, second], np.arange(count), exact=True)["images_to_settle"][0])
    found = 0
    for _ in range(200):
        pair = [right_predictions(needed, accuracy, generator)[0] for accuracy in truth]
        found += mcnemar_exact((pair[0] > pair[1]).sum(), (pair[0] < pair[1]).sum()) < 0.05
    assert 0.7 < found / 200 < 0.9


def test_intervals_of_proportions_stay_inside_0_and_1_and_know_no_certainty() -> None:
    sample = Sample.of([np.ones((1, 50)), np.zeros((2, 50))], np.arange(50), 200, 0)
    low, high = sample.intervals(proportions=True)
    assert (low[0], high[0]) == (pytest.approx(0.9287, abs=1e-4), 1.0)
    assert (low[1], high[1]) == (0.0, pytest.approx(0.0713, abs=1e-4))


def test_intervals_of_8_unequal_groups_cover_the_truth() -> None:
    generator, covered = np.random.default_rng(6), np.zeros(2)
    codes = np.repeat(np.arange(8), [1, 1, 2, 2, 3, 4, 7, 10])
    for trial in range(400):
        members = [values[:, codes] for values in generator.normal(0, 1, (2, 1, 8))]
        pair = compare_pairs(members, codes, exact=False, resamples=400, seed=trial).iloc[0]
        shares = [(values > 0).astype(float) for values in members]
        low, high = Sample.of(shares, codes, 200, trial).intervals(proportions=True)
        covered += [pair["low"] <= 0 <= pair["high"], low[0] <= 0.5 <= high[0]]
    assert (covered / 400 >= 0.93).all(), covered


def seeds_of(accuracies: np.ndarray, images: int, generator: np.random.Generator) -> np.ndarray:
    """Right predictions (seeds, images) of trained models of these accuracies."""
    return np.concatenate([right_predictions(images, accuracy, generator) for accuracy in accuracies])


def test_one_seed_against_three_is_given_their_spread() -> None:
    generator, found = np.random.default_rng(7), 0
    for trial in range(300):
        members = [seeds_of(expit(1.7 + 0.4 * generator.normal(size=seeds)), 1000, generator) for seeds in (1, 3)]
        pair = compare_pairs(members, np.arange(1000), exact=True, resamples=200, seed=trial).iloc[0]
        found += pair["verdict"] != "not distinguishable"
    assert found / 300 < 0.08


def test_seeds_to_settle_show_the_difference_more_often_than_not_and_need_a_known_spread() -> None:
    generator, found = np.random.default_rng(8), 0
    one = [right_predictions(4000, accuracy, generator) for accuracy in (0.88, 0.78)]
    pair = compare_pairs(one, np.arange(4000), exact=True).iloc[0]
    needed = int(pair["seeds_to_settle"])
    assert needed >= 3
    for trial in range(100):
        spread = 0.4 * generator.normal(size=(2, needed))
        members = [seeds_of(expit(logit(0.88) + spread[0]), 4000, generator)]
        members.append(seeds_of(expit(logit(0.78) + spread[1]), 4000, generator))
        pair = compare_pairs(members, np.arange(4000), exact=True, resamples=50, seed=trial).iloc[0]
        found += pair["verdict"] == "better"
    assert found / 100 > 0.6
    assert np.isnan(compare_pairs(one, np.arange(4000), exact=False)["seeds_to_settle"][0])
