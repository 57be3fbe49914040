"""An alias only moves to a model that is not worse, comes back on request, and names a model everywhere."""

from __future__ import annotations

import base64
import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from src.comparison.paired import compare_with_holder
from src.config import EvaluateConfig, EvaluationConfig, ExportConfig, RegisterConfig
from src.conversion import opening, registration
from src.conversion.export import export
from src.conversion.opening import export_run, open_model
from src.conversion.registration import register
from src.errors import ConfigError, GateError, TrackingError
from src.evaluation.reevaluation import evaluate
from src.predict import main as predict_command
from src.runtime.bundle import Bundle
from src.runtime.predictor import ImageFile, ImagePredictor
from src.serve import main as serve_command
from src.tracking.read import ROLE_TAG, find_run
from tests.composing import compose_config
from tests.trained_model import Trained, train_small

UNTRAINED = ["trainer.epochs=1", "optimizer.learning_rate=1e-9"]


@dataclass(frozen=True)
class Contest:
    """A trained run and one as good as untrained, evaluated on the same test images."""

    trained: Trained
    good: str
    bad: str

    def register(self, run: str, name: str, **settings: object) -> str:
        """Register, and return the number of the version that holds the alias afterwards."""
        config = RegisterConfig(self.trained.tracking, run=run, name=name, **settings)  # type: ignore[arg-type]
        return register(config).number

    def version_tags(self, name: str, number: str) -> dict[str, str]:
        import mlflow

        tags: dict[str, str] = mlflow.MlflowClient(self.trained.tracking.uri).get_model_version(name, number).tags
        return tags


@pytest.fixture(scope="module")
def contest(trained: Trained) -> Contest:
    return Contest(trained, trained.run_id, train_small([*trained.overrides, *UNTRAINED]))


def test_a_worse_model_is_rejected_unless_forced_and_the_alias_comes_back(
    contest: Contest, capsys: pytest.CaptureFixture[str]
) -> None:
    assert contest.register(contest.good, "gated") == "1"
    assert "first champion" in capsys.readouterr().out
    with pytest.raises(
        GateError, match=r"worse: log loss \+0\.\d+ \[\+0\.\d+, \+0\.\d+\] on 18 test images"
    ) as rejected:
        contest.register(contest.bad, "gated", metric="log_loss")
    assert "\n" not in str(rejected.value)
    assert "force=true" in str(rejected.value)

    assert contest.register(contest.bad, "gated", metric="log_loss", force=True, reason="a drill") == "2"
    tags = contest.version_tags("gated", "2")
    assert tags["champion.forced"] == "a drill"
    contest.register(contest.good, "gated", metric="log_loss")
    assert "against version 1, the best that was ever champion: not distinguishable" in capsys.readouterr().out
    assert contest.register("latest", "gated", rollback=True) == "2"
    assert tags["champion.verdict"].startswith("worse: log loss")

    assert contest.register("latest", "gated", rollback=True) == "1"
    assert "is version 1 again" in capsys.readouterr().out
    assert "champion.rolled_back" in contest.version_tags("gated", "2")
    with pytest.raises(TrackingError, match="no version held it before version 1"):
        contest.register("latest", "gated", rollback=True)


def test_a_better_model_passes_and_the_same_run_is_no_new_version(
    contest: Contest, capsys: pytest.CaptureFixture[str]
) -> None:
    contest.register(contest.bad, "rising")
    assert contest.register(contest.good, "rising", metric="log_loss") == "2"
    assert "against version 1: better: log loss -0." in capsys.readouterr().out
    assert contest.version_tags("rising", "2")["champion.verdict"].startswith("better")
    assert contest.register(contest.good, "rising") == "2"


def test_a_model_that_may_be_chance_and_one_of_other_classes_are_told(
    contest: Contest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contest.register(contest.bad, "by_chance")
    assert "balanced accuracy on test does not rule out chance" in capsys.readouterr().out
    run = find_run(contest.trained.tracking, contest.good)
    pets = replace(run, params={**run.params, "dataset.positive": "cat", "dataset.negative": "dog"})
    monkeypatch.setattr(registration, "find_run", lambda _, which: pets if which == contest.good else run)
    with pytest.raises(GateError, match="cannot be compared: it tells cat from dog, the other happy from sad"):
        contest.register(contest.good, "by_chance")


def test_rolling_back_passes_over_deleted_versions(contest: Contest) -> None:
    import mlflow

    for run in (contest.good, contest.bad, contest.good):
        contest.register(run, "shrinking", force=True)
    mlflow.MlflowClient(contest.trained.tracking.uri).delete_model_version("shrinking", "2")
    assert contest.register("latest", "shrinking", rollback=True) == "1"


def predictions(right: int, count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sha256": [f"{number:064x}" for number in range(count)],
            "label": 1,
            "group": range(count),
            "split": "test",
            "probability": 0.9,
            "predicted": [number < right for number in range(count)],
        }
    )


def test_not_distinguishable_passes_but_says_what_it_leaves_open() -> None:
    decision = compare_with_holder(predictions(86, 100), predictions(88, 100), "accuracy")
    assert decision.passed
    assert decision.text.startswith("not distinguishable: accuracy -0.0200 [-0.0")
    assert "on 100 test images in 100 groups" in decision.text
    assert "it may be up to 0.0" in decision.text
    assert "images would settle it" in decision.text


@pytest.mark.parametrize(
    ("images", "accuracy", "least", "most"), [(300, 0.9, 0.0, 0.06), (300, 0.8, 0.8, 1.0), (36, 0.8, 0.05, 0.3)]
)
def test_how_often_a_challenger_of_a_holder_with_accuracy_90_is_rejected(
    images: int, accuracy: float, least: float, most: float
) -> None:
    generator = np.random.default_rng(0)

    def rejected() -> bool:
        ours, theirs = (
            predictions(0, images).assign(predicted=generator.random(images) < level) for level in (accuracy, 0.9)
        )
        return not compare_with_holder(ours, theirs, "accuracy", resamples=100).passed

    assert least <= np.mean([rejected() for _ in range(150)]) <= most


def test_a_margin_asks_the_interval_to_rule_a_loss_out() -> None:
    ours, theirs = predictions(86, 100), predictions(88, 100)
    assert not compare_with_holder(ours, theirs, "accuracy", margin=0.02).passed
    assert compare_with_holder(ours, theirs, "accuracy", margin=0.2).passed
    assert compare_with_holder(theirs, ours, "accuracy", margin=0.01).passed


def test_runs_evaluated_on_other_images_are_not_compared() -> None:
    decision = compare_with_holder(predictions(90, 100), predictions(10, 99), "accuracy")
    assert not decision.passed
    assert decision.text.startswith("cannot be compared: evaluated on different test images, 100 (digest ")


@pytest.mark.parametrize("missing", [None, predictions(8, 10).assign(split="validation")])
def test_missing_predictions_are_no_reason_to_pass(missing: pd.DataFrame | None) -> None:
    decision = compare_with_holder(predictions(9, 10), missing, "accuracy")
    assert not decision.passed
    assert "the holder's run recorded no test predictions" in decision.text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("alias=latest", "alias=latest: accepts"),
        ("name=a/b", "name=a/b: accepts"),
        ("reason=why", "reason= goes with force=true"),
        ("margin=0", "margin=0: accepts"),
    ],
)
def test_a_mistake_is_reported_before_anything_starts(settings: str, said: str, trained: Trained) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        compose_config(settings, schema=RegisterConfig, name="register")


def test_the_name_of_a_registered_model_works_where_a_model_is_named(
    contest: Contest, bundle: Bundle, album: Path
) -> None:
    contest.register(contest.good, "named")
    registered = open_model("models:/named@champion", contest.trained.tracking.uri)
    exported = open_model(contest.good, contest.trained.tracking.uri)
    image = [ImageFile(str(album / "a.png"))]
    answers = [next(ImagePredictor(source).answers(image)) for source in (registered, exported, bundle)]
    assert answers[0] == answers[1]
    assert answers[0].probability == pytest.approx(answers[2].probability, abs=1e-4)

    config = EvaluateConfig(contest.trained.tracking, EvaluationConfig(resamples=100), run="models:/named@champion")
    evaluation = evaluate(config)
    assert evaluation.scores["test"]["accuracy"].value == registered.scores["test"]["accuracy"][0]
    with pytest.raises(TrackingError, match="models:/named@nobody"):
        open_model("models:/named@nobody", contest.trained.tracking.uri)


@pytest.mark.parametrize("which", ["models:/asked@champion", "RUN_ID"])
def test_predict_and_serve_take_a_registered_model_and_a_run(
    contest: Contest, album: Path, which: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contest.register(contest.good, "asked")
    options = ["--model", which.replace("RUN_ID", contest.good), "--tracking-uri", str(contest.trained.tracking.uri)]
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["predict", str(album / "a.png"), "--json", *options])
    with pytest.raises(SystemExit) as stop:
        predict_command()
    assert not stop.value.code
    predicted = json.loads(capsys.readouterr().out)

    served: list[FastAPI] = []
    monkeypatch.setattr("src.web.server.run", lambda service, listening: served.append(service))
    monkeypatch.setattr("sys.argv", ["serve", "--port", "0", "--no-page", *options])
    with pytest.raises(SystemExit):
        serve_command()
    client = TestClient(served[0], base_url="http://localhost")
    body = client.post("/v1/predict", content=(album / "a.png").read_bytes()).json()
    assert body["model"] == predicted["model"]
    assert body["answers"][0] | {"path": ""} == {name: predicted[name] for name in body["answers"][0]} | {"path": ""}


def test_a_registered_model_is_opened_where_nothing_can_be_exported(
    contest: Contest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    contest.register(contest.good, "whole")
    monkeypatch.setattr(opening, "BUNDLES", tmp_path / "empty")
    monkeypatch.setattr(opening, "export_run", lambda run, tracking: pytest.fail("exported again"))
    whole = open_model("models:/whole@champion", contest.trained.tracking.uri)
    assert whole.run_id == contest.good
    assert open_model("models:/whole/1", contest.trained.tracking.uri).folder == whole.folder


def test_an_export_is_recorded_below_its_run(contest: Contest, tmp_path: Path) -> None:
    import mlflow

    tracking = contest.trained.tracking
    exported = export(ExportConfig(tracking, contest.good, str(tmp_path / "mine"), formats=["litert"]))
    assert exported.run_id == contest.good
    client = mlflow.MlflowClient(tracking.uri)
    experiment = client.get_run(contest.good).info.experiment_id
    below = f"tags.mlflow.parentRunId = '{contest.good}' and tags.{ROLE_TAG} = 'export'"
    (child,) = client.search_runs([experiment], below)
    assert child.info.run_name == "mine"
    assert child.data.metrics["export/litert/largest_difference"] <= 1e-4
    assert {file.path for file in client.list_artifacts(child.info.run_id)} >= {"bundle.json", "model.tflite"}
    assert find_run(tracking, "latest").tags.get(ROLE_TAG) is None


def test_a_run_is_exported_once(contest: Contest, monkeypatch: pytest.MonkeyPatch) -> None:
    run = find_run(contest.trained.tracking, contest.good)
    first = export_run(run, contest.trained.tracking)
    written = (first.folder / "model.tflite").stat().st_mtime_ns
    assert export_run(run, contest.trained.tracking).model_id == first.model_id
    assert (first.folder / "model.tflite").stat().st_mtime_ns == written


def test_a_version_says_how_good_it_is_and_loads_in_both_ways(contest: Contest, album: Path) -> None:
    import mlflow

    number = contest.register(contest.good, "named")
    mlflow.set_tracking_uri(contest.trained.tracking.uri)
    version = mlflow.MlflowClient().get_model_version("named", number)
    run = find_run(contest.trained.tracking, contest.good)
    low, high = (run.metrics[f"test/accuracy_{end}"] for end in ("low", "high"))
    assert version.tags["test/accuracy"] == f"{run.metrics['test/accuracy']:.3f} [{low:.3f}, {high:.3f}]"
    assert contest.good in version.description
    assert "mlflow.keras.load_model" in version.description
    code = [line for line in version.description.splitlines() if line.startswith("    ")]
    assert len(code) == 2
    assert max(map(len, code)) < 95  # MLflow's page cuts longer ones off
    client = mlflow.MlflowClient()
    assert "happy or sad" in client.get_registered_model("named").description
    client.create_registered_model("described", description="by hand")
    contest.register(contest.good, "described")
    assert client.get_registered_model("described").description == "by hand"

    uri, data = f"models:/named/{number}", (album / "a.png").read_bytes()
    pixels = np.asarray(Image.open(album / "a.png").convert("RGB"))
    assert mlflow.keras.load_model(uri).output_shape == (None, 1)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model = mlflow.pyfunc.load_model(uri)
    assert not [each for each in warned if "type hints" in str(each.message)]
    (expected,) = model.predict({"image": [data]}).to_dict("records")
    text = base64.b64encode(data).decode()
    for given in (pd.DataFrame({"image": [text]}), [data], data, [text], pixels, pixels[None].astype("float32")):
        assert model.predict(given).to_dict("records") == [expected]
    assert model.predict([data, text, pixels]).to_dict("records") == [expected] * 3
    assert len(model.predict(model.input_example)) == 1
    with pytest.raises(mlflow.MlflowException, match=r"^images are wanted, .*; got DataFrame with columns a, b$"):
        model.predict(pd.DataFrame({"a": [1], "b": [2]}))
