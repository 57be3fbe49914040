from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from src.config import Config, DatasetConfig, EvaluationConfig, SyntheticConfig, ThresholdConfig
from src.data.prepared import PreparedDataset, prepare
from src.errors import DataError
from src.evaluation.artifacts import draw_figures, read_decision, write_artifacts
from src.evaluation.card import ModelFacts, decision_line, looked_for, score_metrics, score_table
from src.evaluation.evaluation import evaluate_model
from src.evaluation.figures import coverage_accuracy, probability_histogram, slices_figure, validation_grid
from src.metrics.calibration import Decision
from src.metrics.intervals import Score
from src.metrics.scores import SCORES, Share, of_confusion
from src.reports.style import save_png

QUICK = EvaluationConfig(resamples=200, min_slice_size=5, explanations=4, pointing_images=4)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    cache = tmp_path_factory.mktemp("cache")
    return prepare(
        DatasetConfig(
            name="synthetic",
            source="synthetic",
            image_size=32,
            synthetic=SyntheticConfig(count=160),
            cache=str(cache),
            workers=1,
        )
    )


def oracle(dataset: PreparedDataset, noise: float = 1.0):
    """A model that knows each image's label by heart, and doubts it at random."""
    logit = (dataset.table["label"].to_numpy() * 2 - 1) * 2 + np.random.default_rng(0).normal(
        0, noise, len(dataset.table)
    )
    known = {image.tobytes(): value for image, value in zip(dataset.images, 1 / (1 + np.exp(-logit)), strict=True)}
    return lambda images: np.array([known.get(image.tobytes(), 0.5) for image in images])


def test_test_labels_change_neither_threshold_nor_temperature(faces: PreparedDataset) -> None:
    predict = oracle(faces)
    lying = faces.table.assign(
        label=faces.table["label"].where(faces.table["split"] != "test", 1 - faces.table["label"])
    )
    honest, lied = evaluate_model(predict, faces, QUICK), evaluate_model(predict, replace(faces, table=lying), QUICK)
    assert lied.decision == honest.decision
    assert honest.scores["test"]["accuracy"].value > 0.8 > 0.4 > lied.scores["test"]["accuracy"].value


def test_the_pointing_game_leaves_out_images_without_boxes(faces: PreparedDataset) -> None:
    boxes = [name for name in faces.table if name.startswith("mouth_")]
    photos = faces.table["split"].eq("test") & (np.arange(len(faces.table)) % 2 == 0)  # as of another source
    for rows, played in ((photos, True), (faces.table["split"].eq("test"), False)):
        mixed = replace(faces, table=faces.table.mask(rows.to_numpy()[:, None] & faces.table.columns.isin(boxes)))
        metrics = evaluate_model(oracle(faces), mixed, QUICK).metrics
        assert ("test/occlusion/pointing_gain" in metrics) == played


def test_predictions_belong_to_their_images(faces: PreparedDataset) -> None:
    predict = oracle(faces)
    evaluation = evaluate_model(predict, faces, QUICK)
    predictions = evaluation.predictions
    assert set(predictions["split"]) == {"validation", "test"}
    assert predictions["uncalibrated"].to_numpy() == pytest.approx(predict(faces.images[predictions.index]))
    assert predictions["sha256"].tolist() == faces.table["sha256"].iloc[predictions.index].tolist()
    right = predictions["predicted"] == (predictions["label"] == 1)
    for split in ("validation", "test"):
        assert evaluation.scores[split]["accuracy"].value == pytest.approx(right[predictions["split"] == split].mean())


def test_the_most_wrong_images_are_wrong_and_the_most_confident_mistake_comes_first(faces: PreparedDataset) -> None:
    evaluation = evaluate_model(oracle(faces, noise=3.0), faces, QUICK)
    worst = evaluation.worst
    assert (worst["predicted"] != (worst["label"] == 1)).all()
    assert (worst["probability"] - worst["label"]).abs().is_monotonic_decreasing
    assert np.array_equal(evaluation.worst_images[0], faces.images[worst.index[0]])


def test_a_given_decision_is_used_as_it_is(faces: PreparedDataset) -> None:
    decision = Decision(threshold=0.7, temperature=2.0, abstain=(0.3, 0.75))
    evaluation = evaluate_model(oracle(faces), faces, QUICK, decision=decision)
    assert evaluation.decision == decision
    assert evaluation.predictions.loc[evaluation.predictions["predicted"], "probability"].min() >= 0.7
    assert 0 < evaluation.metrics["test/answered"] < 1


def test_a_planted_failure_on_glasses_is_the_worst_slice() -> None:
    generator = np.random.default_rng(0)
    count = 400
    table = pd.DataFrame(
        {
            "label": generator.integers(0, 2, count),
            "group": np.arange(count),
            "split": np.where(np.arange(count) < 100, "validation", "test"),
            "sha256": [f"{number:064x}" for number in range(count)],
            "glasses": generator.choice(["none", "round"], count, p=[0.75, 0.25]),
            "hair": generator.choice(["short", "long"], count),
        }
    )
    images = generator.integers(0, 255, (count, 16, 16, 3)).astype(np.uint8)
    images[:, 0, 0, 0] = table["label"] * 255
    images[table["glasses"] == "round", 0, 0, 0] = 255 - images[table["glasses"] == "round", 0, 0, 0]
    dataset = PreparedDataset(images, table, table[:0], ("sad", "happy"), "d", {"test": "t"}, "planted")
    evaluation = evaluate_model(lambda images: np.where(images[:, 0, 0, 0] > 127, 0.9, 0.1), dataset, QUICK)
    assert evaluation.slices is not None
    worst = evaluation.slices.iloc[0]
    assert (worst["column"], worst["value"], worst["verdict"]) == ("glasses", "round", "worse")


def test_the_title_of_the_slices_is_not_cut_off() -> None:
    rows = {"column": "background_lightness", "value": "0.267 to 0.498", "count": 45, "accuracy": 0.4, "low": 0.2}
    figure = slices_figure(pd.DataFrame([rows | {"high": 0.6, "verdict": ""}]), Score(0.506, 0.433, 0.578))
    save_png(figure, BytesIO())
    (title,) = figure.findobj(lambda artist: isinstance(artist, Text) and "all images" in artist.get_text())
    assert title.get_window_extent().x1 <= figure.bbox.x1


def test_every_result_shows_in_the_figures(faces: PreparedDataset) -> None:
    evaluation = evaluate_model(
        oracle(faces), faces, replace(QUICK, corruptions=[5], corruption_images=5, abstain_accuracy=0.99)
    )
    drawn = draw_figures(evaluation)
    assert set(drawn) == {
        "confusion_matrix",
        "coverage_accuracy",
        "explanations",
        "most_wrong",
        "precision_recall_curve",
        "probabilities",
        "reliability",
        "robustness",
        "roc_curve",
        "slices",
    }
    for name in ("roc_curve", "precision_recall_curve", "reliability", "coverage_accuracy", "probabilities"):
        ax = drawn[name].axes[0]
        assert ax.get_xlabel()
        assert ax.get_ylabel()
    assert "test/occlusion/pointing_gain" in evaluation.metrics


def test_figures_of_few_images_count_them_and_hide_no_curve() -> None:
    labels, probabilities = np.arange(16) % 2, np.linspace(0.2, 0.9, 16)
    (ax,) = probability_histogram(labels, probabilities).axes
    assert ax.get_yscale() == "linear"
    assert all(float(tick).is_integer() for tick in ax.get_yticks())
    (ax,) = probability_histogram(np.tile(labels, 90), np.tile(probabilities, 90)).axes
    assert ax.get_yscale() == "log"
    wrong_where_sure = np.array([0] * 4 + [1] * 12)
    (ax,) = coverage_accuracy(wrong_where_sure, np.linspace(0.9, 0.6, 16)).axes
    assert ax.get_ylim()[0] <= np.asarray(ax.lines[0].get_ydata())[4:].min()


def test_the_validation_grid_shows_how_sure_the_true_class_is() -> None:
    images = np.zeros((9, 20, 20, 3), dtype=np.uint8)
    grid = validation_grid(images, np.array([1, 0] + [1] * 7), np.array([0.75, 0.75] + [1.0] * 7), side=40)
    assert grid.shape == (80, 320, 3)
    foot = grid[39]
    assert (foot[:30] == foot[0]).all()
    assert (foot[30:40] == 255).all()
    assert foot[0, 1] > foot[0, 0]  # green: the true class has 0.75
    assert foot[40, 0] > foot[40, 1]  # red: the true class has 0.25
    assert (foot[50:80] == 255).all()


def test_scores_added_from_outside_are_computed_with_their_intervals_and_shown(
    faces: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    right_about_no = Share(hits=lambda truth, _: ~truth, among=lambda _, predicted: ~predicted)
    youden = of_confusion(lambda hits, alarms, misses, rest: hits / (hits + misses) + rest / (rest + alarms) - 1)
    monkeypatch.setitem(SCORES, "negative_predictive_value", right_about_no)
    monkeypatch.setitem(SCORES, "youden", youden)
    evaluation = evaluate_model(oracle(faces), faces, QUICK)
    rows, scores = evaluation.split("test"), evaluation.scores["test"]
    answered_no = rows[~rows["predicted"]]
    assert scores["negative_predictive_value"].value == pytest.approx((answered_no["label"] == 0).mean())
    assert scores["youden"].value == pytest.approx(2 * scores["balanced_accuracy"].value - 1)
    for name in ("negative_predictive_value", "youden"):
        assert 0 < scores[name].low < scores[name].value < scores[name].high <= 1
    assert {"test/youden", "test/youden_low", "test/youden_high"} <= set(score_metrics(evaluation))
    assert "negative predictive value" in list(score_table(evaluation).columns[0].cells)


def test_scores_on_few_groups_of_images_say_so(faces: PreparedDataset) -> None:
    test = faces.table["split"] == "test"
    copies = faces.table.assign(group=faces.table["group"].where(~test, faces.table["group"] % 7))
    evaluation = evaluate_model(oracle(faces), replace(faces, table=copies), QUICK)
    assert evaluation.groups("test") == 7
    assert "test has 7 groups of images" in str(score_table(evaluation).caption)
    enough = replace(faces, table=faces.table.assign(split="test"))
    decided = evaluate_model(oracle(faces), enough, QUICK, decision=Decision())
    assert score_table(decided).caption is None


def test_the_threshold_policy_of_the_config_is_followed(faces: PreparedDataset) -> None:
    fixed = evaluate_model(oracle(faces), faces, replace(QUICK, threshold=ThresholdConfig(policy="fixed", value=0.7)))
    assert fixed.threshold == 0.7
    assert "temperature" in decision_line(fixed)
    assert ", neither chosen on validation, which has fewer than 50 images of a class" in decision_line(fixed)
    few = evaluate_model(oracle(faces), faces, replace(QUICK, threshold=ThresholdConfig(policy="recall", target=0.9)))
    assert ", only the threshold chosen on validation, which has fewer than 50" in decision_line(few)
    both = evaluate_model(oracle(faces), faces, QUICK, decision=Decision(0.6, 1.2))
    assert "threshold 0.600 and temperature 1.20, both chosen on validation" in decision_line(both)


def test_a_single_class_is_evaluated_without_the_curves_that_need_two(faces: PreparedDataset) -> None:
    happy = faces.table["split"].where(faces.table["label"] == 1, "unused")
    evaluation = evaluate_model(oracle(faces), replace(faces, table=faces.table.assign(split=happy)), QUICK)
    assert np.isnan(evaluation.scores["test"]["roc_auc"].value)
    assert "roc_curve" not in draw_figures(evaluation)


def test_nothing_to_evaluate_is_a_clear_error(faces: PreparedDataset) -> None:
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate_model(oracle(faces), replace(faces, table=faces.table.assign(split="train")), QUICK)


def test_the_style_leaves_matplotlib_alone(faces: PreparedDataset) -> None:
    before = dict(matplotlib.rcParams)
    draw_figures(evaluate_model(oracle(faces), faces, QUICK))
    assert dict(matplotlib.rcParams) == before


def test_artifacts_can_be_read_back_and_the_card_says_what_it_must(
    faces: PreparedDataset, tmp_path: Path, make_config: Callable[..., Config]
) -> None:
    evaluation = evaluate_model(oracle(faces), faces, QUICK)

    def path(name: str) -> Path:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        return tmp_path / name

    config = make_config("evaluation.figures=true")
    facts = ModelFacts("m", 10, None, "python -m src.train", "synthetic", looked_for(config.dataset))
    write_artifacts(evaluation, config, faces, facts, path)
    assert read_decision(tmp_path / "decision.json") == evaluation.decision
    stored = pd.read_parquet(tmp_path / "predictions.parquet")
    assert stored["probability"].tolist() == evaluation.predictions["probability"].tolist()
    card, page = (tmp_path / "model_card.md").read_text(), (tmp_path / "model_card.html").read_text()
    for wanted in (
        "Article 5(1)(f)",
        "not what a person feels",
        "FLOPs not known",
        str(evaluation.scores["test"]["accuracy"]),
        faces.digest,
    ):
        assert wanted in card
    assert 'src="figures/' not in page
    assert page.count("data:image/png") == 3


def test_an_evaluation_without_figures_writes_and_names_none(
    faces: PreparedDataset, tmp_path: Path, make_config: Callable[..., Config]
) -> None:
    evaluation = evaluate_model(oracle(faces), faces, replace(QUICK, corruptions=[5], corruption_images=5))
    config = make_config("evaluation.figures=false")
    facts = ModelFacts("m", 10, 1000, "python -m src.train", "synthetic", looked_for(config.dataset))
    write_artifacts(evaluation, config, faces, facts, lambda name: tmp_path / name)  # makes no folder
    files = {"predictions.parquet", "decision.json", "slices.csv", "robustness.csv", "model_card.md", "model_card.html"}
    assert {file.name for file in tmp_path.iterdir() if file.is_file()} == files
    assert "![" not in (tmp_path / "model_card.md").read_text()
    assert "<img" not in (tmp_path / "model_card.html").read_text()
    assert str(evaluation.scores["test"]["f1"]) in (tmp_path / "model_card.md").read_text()
