import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import sync_playwright

from src.compare import as_override
from src.comparison.comparison import Comparison, compare
from src.comparison.leaderboard import differing_settings
from src.comparison.page import MAX_CURVES, curves_figure, pareto_front, render_html, render_markdown, verdict
from src.errors import TrackingError
from src.metrics.scores import score
from src.tracking.read import RecordedRun

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
Predictions = dict[str, pd.DataFrame]


def record(name: str, started: int = 0, **params: str) -> RecordedRun:
    settings = {"seed": "0", "dataset.split.fold": "0"} | {
        key.replace("__", "."): value for key, value in params.items()
    }
    metrics = {"model/parameters": 1e5, "model/flops": 1e7 * len(name), "fit/seconds": 12.0}
    return RecordedRun(name, name, started, settings, metrics, {}, "")


def predict(accuracy: float, count: int = 600, seed: int = 0, first: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    labels = np.random.default_rng(99).integers(0, 2, first + count)[first:]
    right = generator.random(count) < accuracy
    predicted = np.where(right, labels, 1 - labels) == 1
    return pd.DataFrame(
        {
            "sha256": [f"{number:064x}" for number in range(first, first + count)],
            "label": labels,
            "group": np.arange(first, first + count),
            "split": "test",
            "probability": np.where(predicted, 0.8, 0.2),
            "predicted": predicted,
        }
    )


def compared(runs: dict[RecordedRun, pd.DataFrame | None] | list, metric: str = "accuracy") -> Comparison:
    tables = {run.id: table for run, table in runs}
    return compare([run for run, _ in runs], lambda run: tables[run.id], metric, resamples=300)


def test_seeds_are_pooled_and_only_differing_settings_are_columns() -> None:
    runs = [
        (record(f"{model}-{seed}", model__name=model, model__filters=filters, seed=str(seed), aug__name="none"),
         predict(accuracy, seed=seed + 10 * len(model)))
        for model, filters, accuracy in (("baseline", "[16]", 0.8), ("deep", "[16, 32]", 0.95))
        for seed in range(3)
    ]  # fmt: skip
    (ranking,) = compared(runs).rankings
    assert [candidate.label for candidate in ranking.candidates] == ["deep", "baseline"]
    assert list(ranking.candidates[0].settings) == ["model.name"]
    assert ranking.board["seeds"].tolist() == [3, 3]
    assert ranking.board["mean"].tolist() == pytest.approx([0.95, 0.8], abs=0.02)
    assert ranking.pairs["verdict"].tolist() == ["better"]
    assert "| 1 | deep | 3 |" in render_markdown(compared(runs))


def test_runs_on_different_test_images_are_never_ranked_together() -> None:
    runs = [
        (record("a", model__name="a"), predict(0.9)),
        (record("b", model__name="b"), predict(0.8)),
        (record("c", model__name="c"), predict(0.99, first=1)),
    ]
    comparison = compared(runs)
    assert [len(ranking.candidates) for ranking in comparison.rankings] == [2, 1]
    assert len(comparison.rankings[0].pairs) == 1
    assert "2 different sets of test images" in render_html(comparison, {})


def test_images_in_another_order_are_the_same_test_set() -> None:
    table = predict(0.9)
    runs = [(record("a", model__name="a"), table), (record("b", model__name="b"), table.sample(frac=1, random_state=0))]
    (ranking,) = compared(runs).rankings
    assert ranking.pairs[["low", "difference", "high"]].to_numpy().tolist() == [[0.0, 0.0, 0.0]]
    assert ranking.pairs["p_value"].tolist() == [1.0]


def test_folds_of_a_cross_validation_pool_into_one_score() -> None:
    runs = [
        (
            record(
                f"{model}{fold}",
                model__name=model,
                dataset__split__method="kfold",
                dataset__split__fold=str(fold),
            ),
            predict(0.9, 100, fold, 100 * fold),
        )
        for model in ("a", "b")
        for fold in range(5)
    ]
    (ranking,) = compared(runs).rankings
    assert ranking.test_set.codes.size == 500
    assert ranking.board["seeds"].tolist() == [1, 1]


def test_a_fold_that_the_split_ignores_counts_no_image_twice() -> None:
    runs = [
        (
            record(f"a{fold}", fold, dataset__split__method="stratified", dataset__split__fold=str(fold)),
            predict(0.9, 100),
        )
        for fold in range(2)
    ]
    (ranking,) = compared(runs).rankings
    assert ranking.test_set.codes.size == 100
    assert [run.name for run in ranking.candidates[0].runs] == ["a1"]


def test_runs_recorded_elsewhere_or_before_a_setting_existed_are_of_the_same_config() -> None:
    runs = [
        (record("a0", model__name="a", dataset__path="../data/fer.zip"), predict(0.9, seed=1)),
        (record("a1", model__name="a", dataset__path="/data/fer.zip", model__new="x", seed="1"), predict(0.9, seed=2)),
        (record("b0", model__name="b", dataset__path="/data/fer.zip", model__new="x"), predict(0.8, seed=3)),
    ]
    (ranking,) = compared(runs).rankings
    assert [(candidate.label, len(candidate.runs)) for candidate in ranking.candidates] == [("a", 2), ("b", 1)]


def test_the_newest_of_repeated_runs_counts_and_runs_without_predictions_are_named() -> None:
    runs = [
        (record("old", 1, model__name="a"), predict(0.5)),
        (record("new", 2, model__name="a"), predict(0.9)),
        (record("lost", 3, model__name="b"), None),
    ]
    comparison = compared(runs)
    assert [run.name for run in comparison.rankings[0].candidates[0].runs] == ["new"]
    assert [run.name for run in comparison.excluded] == ["lost"]
    assert "lost" in render_markdown(comparison)
    with pytest.raises(TrackingError, match="none of the 1 runs"):
        compared(runs[2:])


def test_corruption_errors_are_relative_to_the_baseline_candidate() -> None:
    tested = {
        "a": pd.DataFrame({"corruption": ["fog", "snow"], "severity": [1, 1], "accuracy": [0.8, 0.6]}),
        "b": pd.DataFrame({"corruption": ["fog", "snow"], "severity": [1, 1], "accuracy": [0.9, 0.8]}),
    }
    runs = [record("a", model__name="baseline"), record("b", model__name="deep"), record("c", model__name="mobile")]
    for run in runs[:2]:
        run.metrics["test/corrupted_accuracy"] = 0.7  # type: ignore[index]
    tables = {run.id: predict(0.8, seed=place) for place, run in enumerate(runs)}
    (ranking,) = compare(runs, lambda run: tables[run.id], read_robustness=lambda run: tested[run.id]).rankings
    errors = dict(zip([candidate.label for candidate in ranking.candidates], ranking.board["mce"], strict=True))
    assert errors["baseline"] == 1.0
    assert errors["deep"] == pytest.approx(0.5)
    assert np.isnan(errors["mobile"])


def test_corruption_errors_are_of_the_severities_that_both_were_tested_at_and_the_page_says_so() -> None:
    accuracy = {"a": [0.9, 0.6], "b": [0.6], "c": [0.6]}
    severities = {"a": [1, 3], "b": [3], "c": [5]}
    runs = [record(name, model__name=name.replace("a", "baseline")) for name in accuracy]
    for run in runs:
        run.metrics["test/corrupted_accuracy"] = 0.7  # type: ignore[index]
    tested = {
        name: pd.DataFrame({"corruption": "fog", "severity": severities[name], "accuracy": accuracy[name]})
        for name in accuracy
    }
    comparison = compare(runs, lambda _: predict(0.8), read_robustness=lambda run: tested[run.id])
    (ranking,) = comparison.rankings
    errors = dict(zip([candidate.label for candidate in ranking.candidates], ranking.board["mce"], strict=True))
    assert (errors["baseline"], errors["b"]) == pytest.approx((1.0, 1.0))
    assert np.isnan(errors["c"])
    note = "over the corruptions and severities that both were tested at"
    assert note in render_markdown(comparison)
    assert note not in render_markdown(compared([(record("a", model__name="a"), predict(0.9))]))


@pytest.mark.parametrize("metric", ["balanced_accuracy", "log_loss", "brier"])
def test_other_metrics_rank_the_better_first_and_keep_their_own_sign(metric: str) -> None:
    runs = [(record("a", model__name="a"), predict(0.7, seed=1)), (record("b", model__name="b"), predict(0.95, seed=2))]
    (ranking,) = compared(runs, metric).rankings
    assert ranking.candidates[0].label == "b"
    assert ranking.pairs["verdict"].tolist() == ["better"]
    board = ranking.board.iloc[0]
    assert 0 < board["low"] < board["mean"] < board["high"]


@pytest.mark.parametrize("right", [1.0, 0.9])
def test_intervals_of_balanced_accuracy_stay_inside_what_is_possible(right: float) -> None:
    rare = np.arange(300) % 33 == 0  # three in a hundred are positive
    random = np.random.default_rng(0)

    def rows(share: float) -> pd.DataFrame:
        hits = random.random(rare.size) < share
        predicted = np.where(hits, rare, ~rare)
        images = [f"{number:064d}" for number in range(rare.size)]
        probability = np.where(predicted, 0.9, 0.1)
        return pd.DataFrame(
            {"split": "test", "sha256": images, "group": np.arange(rare.size), "label": rare.astype(int)}
        ).assign(predicted=predicted, probability=probability)

    better, worse = rows(right), rows(0.6)
    runs = [(record("a", model__name="a"), better), (record("b", model__name="b"), worse)]
    (ranking,) = compared(runs, "balanced_accuracy").rankings
    board, pair = ranking.board.iloc[0], ranking.pairs.iloc[0]
    own = score(better["label"], better["probability"])["balanced_accuracy"]
    assert board["mean"] == pytest.approx(own.value, abs=1e-6)
    assert 0 <= board["low"] <= board["mean"] <= board["high"] <= 1
    assert board["high"] - board["low"] == pytest.approx(own.high - own.low, rel=0.75)
    assert -1 <= pair["low"] <= pair["high"] <= 1


def test_the_page_is_one_file_with_its_figures_inside_and_escapes_what_it_shows() -> None:
    runs = [
        (record("a", model__name="<script>alert(1)</script>"), predict(0.9, seed=1)),
        (record("bb", model__name="plain"), predict(0.8, seed=2)),
    ]
    page = render_html(compared(runs), {"plain": [[0.5, 0.7, 0.8]]})
    assert "<script>" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/png;base64,") >= 4


def test_curves_on_one_another_stand_apart_over_whole_epochs_and_no_legend_covers_them() -> None:
    same = {f"model{number}": [[0.5, 0.6, 0.7], [0.5, 0.7, 0.7]] for number in range(MAX_CURVES + 2)}
    figure = curves_figure(same, "Validation accuracy")
    (ax,) = figure.axes
    looks = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in ax.lines}  # type: ignore[attr-defined]
    assert len(looks) == MAX_CURVES
    assert f"the first {MAX_CURVES} of {MAX_CURVES + 2}" in ax.get_title(loc="left")
    figure.draw_without_rendering()
    assert all(float(tick).is_integer() for tick in ax.get_xticks())
    legend = ax.get_legend()
    assert legend is not None
    assert legend.get_window_extent().y1 < ax.get_window_extent().y0


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
@pytest.mark.filterwarnings("error:constrained_layout not applied")
def test_long_names_fit_a_page_and_its_figures_at_any_width(tmp_path: Path) -> None:
    models = ("baseline", "mobilenet_v3_small_pretrained_on_many_faces")
    runs = [
        (record(f"{model}{rate}", model__name=model, optimizer__learning_rate=rate), predict(0.9, seed=place))
        for place, (model, rate) in enumerate(product(models, ("0.001", "0.0003")))
    ]
    comparison = compared(runs)
    labels = [candidate.label for candidate in comparison.rankings[0].candidates]
    page = tmp_path / "page.html"
    page.write_text(render_html(comparison, {label: [[0.5, 0.6, 0.7]] for label in labels}), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width in (390, 1300):
            tab = browser.new_page(viewport={"width": width, "height": 844})
            tab.goto(page.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            beyond = "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).length"
            assert tab.locator(".scroll").evaluate_all(beyond) == 0
        browser.close()


def test_settings_that_follow_from_a_name_are_no_columns_of_their_own() -> None:
    configs = [
        {"model.name": "a", "model.filters": "[1]", "optimizer.learning_rate": "0.1", "same": "x"},
        {"model.name": "b", "model.filters": "[2]", "optimizer.learning_rate": "0.1", "same": "x"},
        {"model.name": "b", "model.filters": "[2]", "optimizer.learning_rate": "0.2", "same": "x"},
    ]
    assert differing_settings(configs) == ["model.name", "optimizer.learning_rate"]


def test_the_pareto_front_holds_what_nothing_beats() -> None:
    cost, value = np.array([1.0, 2.0, 3.0, 2.0, 1.0]), np.array([0.8, 0.9, 0.85, 0.9, 0.7])
    assert pareto_front(cost, value).tolist() == [True, True, False, True, False]
    assert pareto_front(cost, value, lower_is_better=True).tolist() == [False, False, False, False, True]


def test_a_filter_with_quotes_and_the_short_key_reach_hydra() -> None:
    assert as_override("filter=params.model.name = 'deep'") == "filter=\"params.model.name = 'deep'\""
    assert as_override("experiment=faces") == "tracking.experiment=faces"
    assert as_override("metric=brier") == "metric=brier"


def test_a_difference_that_may_be_chance_is_not_reported_as_one() -> None:
    close = [
        (record("a", model__name="a"), predict(0.90, seed=1)),
        (record("b", model__name="b"), predict(0.89, seed=2)),
    ]
    (ranking,) = compared(close).rankings
    assert verdict(ranking, "accuracy").startswith("No significant difference: ")
    apart = [*close, (record("c", model__name="c"), predict(0.6, seed=3))]
    (ranking,) = compared(apart).rankings
    assert "better than 1 of the 2 others, not distinguishable from the rest." in verdict(ranking, "accuracy")
    clear = [close[0], apart[2]]
    (ranking,) = compared(clear).rankings
    assert "a is better than c: " in verdict(ranking, "accuracy")


def test_one_seed_each_is_a_verdict_on_trained_models_and_says_how_many_seeds_settle_it_for_the_configs() -> None:
    def runs(seeds: int) -> list:
        return [
            (record(f"{name}{seed}", model__name=name, seed=str(seed)), predict(accuracy, seed=seed + 10 * ord(name)))
            for name, accuracy in (("a", 0.9), ("b", 0.75))
            for seed in range(seeds)
        ]

    (single,), (several,) = compared(runs(1)).rankings, compared(runs(3)).rankings
    assert verdict(single, "accuracy").startswith("As trained models, one seed each: a is better than b: ")
    assert f"about {single.pairs['seeds_to_settle'][0]:.0f} seeds of each" in verdict(single, "accuracy")
    assert verdict(several, "accuracy").startswith("a is better than b: ")
    assert "| seeds to settle |" in render_markdown(compared(runs(1)))


def test_tables_of_several_test_sets_name_their_data_and_answer_for_themselves() -> None:
    runs = [
        (record("a", dataset__name="faces"), predict(0.9, count=100)),
        (record("b", dataset__name="photos"), predict(0.8, count=140)),
    ]
    text = render_markdown(compared(runs))
    assert "2 different sets of test images" in text
    assert "## faces: " in text
    assert "## photos: " in text
    assert text.count("nothing else was evaluated on these images") == 2


def test_a_comparison_on_few_groups_of_images_says_so() -> None:
    few, enough = (predict(0.9, count=count) for count in (29, 30))
    assert "fall into 29 groups" in render_markdown(compared([(record("a", model__name="a"), few)]))
    assert "groups; take intervals" not in render_markdown(compared([(record("a", model__name="a"), enough)]))


def test_the_leaders_interval_holds_although_it_was_picked_and_the_verdict_says_how_much_that_flatters() -> None:
    generator, held, flattered, validated = np.random.default_rng(0), 0, [], 0
    for trial in range(60):
        runs = [(record(f"m{k}", model__name=f"m{k}"), predict(0.8, 300, 100 * trial + k)) for k in range(20)]
        for run, _ in runs:
            run.metrics["validation/accuracy"] = generator.binomial(300, 0.8) / 300  # type: ignore[index]
        (ranking,) = compared(runs).rankings
        leader, (low, high) = ranking.board.iloc[0], ranking.picked_interval
        held += leader["low"] <= 0.8 <= leader["high"]
        flattered.append(leader["mean"] - 0.8)
        validated += low <= 0.8 <= high
    assert held >= 57
    assert validated >= 54
    assert ranking.optimism == pytest.approx(np.mean(flattered), rel=0.2)
    text = verdict(ranking, "accuracy")
    assert f"flatters its score, by {ranking.optimism:.3f} if all were equally good" in text
    assert "Picked on validation: " in text


def test_candidates_with_many_settings_are_told_apart_by_their_rows() -> None:
    many = {f"trainer__setting{number}": "value" for number in range(12)}
    runs = [
        (record("a", model__name="a", **many), predict(0.9)),
        (record("b", model__name="b", **dict.fromkeys(many, "other")), predict(0.7, seed=1)),
    ]
    (ranking,) = (comparison := compared(runs)).rankings
    assert [candidate.label for candidate in ranking.candidates] == ["a (1)", "b (2)"]
    assert "a (1) is better than b (2)" in verdict(ranking, "accuracy")
    page, text = render_html(comparison, {}), render_markdown(comparison)
    assert "trainer.setting0</th>" not in page
    for number, value in ((1, "value"), (2, "other")):
        assert f'<li value="{number}">' in page
        assert f"{number}. model={'ab'[number - 1]} trainer.setting0={value}" in text
    (short,) = compared([(record(name, model__name=name), predict(0.9)) for name in "ab"]).rankings
    assert [candidate.label for candidate in short.candidates] == ["a", "b"]


def test_of_equals_on_validation_none_is_picked_for_its_test_score() -> None:
    losses = {"a": 0.5, "b": 0.4, "c": 0.4}
    runs = [
        (record(name, 9 - place, model__name=name), predict(0.9 - 0.2 * place, seed=place))
        for place, name in enumerate(losses)
    ]
    for run, _ in runs:
        run.metrics.update({"validation/accuracy": 0.9, "validation/log_loss": losses[run.name]})  # type: ignore[attr-defined]
    (ranking,) = compared(runs).rankings
    assert [candidate.label for candidate in ranking.candidates] == ["a", "b", "c"]
    assert ranking.picked == 2  # as sure as b, and begun before it


def test_no_candidate_is_picked_on_different_validation_images() -> None:
    runs = [(record(name, model__name=name), predict(0.9, seed=place)) for place, name in enumerate("ab")]
    for place, (run, _) in enumerate(runs):
        run.metrics["validation/accuracy"] = 0.9  # type: ignore[index]
        run.tags["data.validation"] = f"digest{place}"  # type: ignore[index]
    (ranking,) = compared(runs).rankings
    assert ranking.picked is None
    assert "Picked on validation" not in verdict(ranking, "accuracy")
