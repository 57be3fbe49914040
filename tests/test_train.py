"""The whole of a run, from the config to what can be read back from MLflow."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import yaml

from src.config import Config, plain, with_absolute_paths
from src.config.identity import Request
from src.data.prepared import prepare
from src.errors import TrainingError
from src.evaluation.card import looked_for
from src.tracking.store import open_store
from src.train import main
from src.training import callbacks, fit
from src.training.batches import Batches
from src.training.run import TrainResult, train
from tests.composing import TINY, compose_config, private_places

MakeConfig = Callable[..., Config]
FIGURES = "evaluation.figures=true"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> tuple[Config, TrainResult]:
    overrides = ["dataset.synthetic.count=32", "model=mobile", "model.filters=[8]", "aug=light"]
    config = compose_config(
        *TINY, *private_places(tmp_path_factory.mktemp("finished"), empty_store), *overrides, FIGURES
    )
    return config, train(config, Request.of("train", config, overrides))


def test_a_run_is_read_back_from_mlflow_whole(finished: tuple[Config, TrainResult], tmp_path: Path) -> None:
    config, result = finished
    mlflow = open_store(config.tracking)
    run = mlflow.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "count=32-mobile-filters=[8]-light-adam-synthetic-s0"

    assert run.data.params["model.name"] == "mobile"
    assert run.data.params["model.filters"] == "[8]"
    assert run.data.params["optimizer.learning_rate"] == "0.001"
    assert run.data.params["seed"] == "0"
    assert not any(name.startswith(("tracking", "output")) for name in run.data.params)

    history = mlflow.MlflowClient().get_metric_history(result.run_id, "val_loss")
    assert [point.step for point in history] == [1, 2]
    assert [point.value for point in history] == result.fit.history["val_loss"]
    accuracy = result.evaluation.scores["test"]["accuracy"]
    metrics = run.data.metrics
    assert metrics["test/accuracy"] == accuracy.value
    assert metrics["test/accuracy_low"] == accuracy.low <= accuracy.value <= accuracy.high
    assert metrics["test/accuracy_high"] == accuracy.high
    assert metrics["model/parameters"] == result.cost.parameters < 300_000

    dataset = prepare(config.dataset)
    inputs = {item.tags[0].value: item.dataset.digest for item in run.inputs.dataset_inputs}
    assert set(inputs) == {"training", "validation", "testing"}
    assert inputs["testing"] == dataset.split_digests["test"]

    assert (
        run.data.tags["command"]
        == "python -m src.train dataset.synthetic.count=32 model=mobile 'model.filters=[8]' aug=light"
    )
    assert run.data.tags["backend"] == "tensorflow"
    assert run.data.tags["weights.sha256"] == result.weights_digest
    assert f"Test accuracy {accuracy.value:.3f}" in run.data.tags["mlflow.note.content"]


def test_the_record_holds_config_figures_predictions_and_a_model_that_repeats_them(
    finished: tuple[Config, TrainResult], tmp_path: Path
) -> None:
    config, result = finished
    mlflow = open_store(config.tracking)
    folder = Path(mlflow.artifacts.download_artifacts(run_id=result.run_id, dst_path=str(tmp_path / "got")))
    assert yaml.safe_load((folder / "config.yaml").read_text()) == with_absolute_paths(plain(config))
    assert f"<title>{config.dataset.name}: data report" in (folder / "data_report.html").read_text()
    figures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert {"confusion_matrix", "roc_curve", "precision_recall_curve", "learning_curves", "most_wrong"} <= figures

    predictions = pd.read_parquet(folder / "predictions.parquet")
    dataset = prepare(config.dataset)
    test = predictions[predictions["split"] == "test"]
    assert test["sha256"].tolist() == dataset.table["sha256"].iloc[dataset.rows("test")].tolist()
    (logged,) = mlflow.search_logged_models(
        experiment_ids=[mlflow.get_run(result.run_id).info.experiment_id], output_format="list"
    )
    model = mlflow.pyfunc.load_model(logged.model_uri)
    again = model.predict(np.asarray(dataset.images[dataset.rows("test")]))
    assert np.allclose(np.asarray(again).reshape(-1), test["uncalibrated"], atol=1e-6)
    assert model.metadata.signature.inputs.inputs[0].shape == (-1, 32, 32, 3)
    assert mlflow.keras.load_model(f"runs:/{result.run_id}/model").output_shape == (None, 1)


def test_the_same_seed_gives_the_same_weights_whatever_ran_before_and_however_images_are_fed(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [
        "aug=strong",
        "model=deep",
        "model.filters=[4,8]",
        "trainer.precision=bfloat16",
        "trainer.epochs=1",
        "tracking=off",
    ]
    first = train(make_config(*values))
    other = train(make_config(*values, "seed=1"))
    monkeypatch.setattr(fit, "device_images", lambda images: None)
    again = train(make_config(*values))
    assert first.weights_digest == again.weights_digest != other.weights_digest
    assert first.fit.history == again.fit.history


def test_best_weights_are_kept_and_training_stops_early(
    make_config: MakeConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    values = [
        "trainer.epochs=12",
        "trainer.early_stopping=2",
        "trainer.monitor=val_auc",
        "optimizer.learning_rate=0.01",
    ]
    result = train(make_config(*values, "tracking=off"))
    scores = result.fit.history["val_auc"]
    assert len(scores) < 12
    assert result.fit.best_epoch == int(np.argmax(scores)) + 1 <= len(scores) - 2
    assert "after which val_auc did not improve" in capfd.readouterr().out


def test_a_fit_that_has_not_begun_to_learn_is_not_stopped_early_and_says_so_at_its_end(
    make_config: MakeConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    values = ["trainer.epochs=4", "trainer.early_stopping=1", "optimizer.learning_rate=1e-9", "tracking=off"]
    assert len(train(make_config(*values)).fit.history["val_loss"]) == 4
    assert "validation shows nothing that was learned" in capfd.readouterr().out


def test_a_lost_loss_ends_the_run_as_failed_with_its_reason(make_config: MakeConfig) -> None:
    config = make_config(
        "optimizer=sgd",
        "optimizer.learning_rate=10",
        "optimizer.clip_norm=null",
        "model.activation=leaky_relu",
        "trainer.epochs=30",
        "optimizer.warmup_epochs=20",
    )
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) in epoch \d+, batch \d+; lower") as told:
        train(config)
    assert re.search(r"learning_rate \(it was [\d.e+-]+\).*the batch was 0000\d\d", str(told.value))
    kept = Path(str(told.value).rpartition("are kept in ")[2])
    assert kept.name == "last_good.keras"
    assert all(np.isfinite(weight).all() for weight in keras.saving.load_model(kept).get_weights())
    (run,) = open_store(config.tracking).search_runs(output_format="list")
    assert run.info.status == "FAILED"
    assert run.data.tags["failure"].startswith("TrainingError: the loss became")


@pytest.mark.parametrize("place", [(keras.Model, "fit"), (Batches, "go_to")])
def test_a_lack_of_memory_is_one_line_that_says_what_to_lower(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, place: tuple[type, str]
) -> None:
    """Before the first batch, where the bar is not shown yet, and in an epoch."""
    import tensorflow as tf

    def exhausted(*_: object, **__: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[32,256]")

    monkeypatch.setattr(*place, exhausted)
    with pytest.raises(TrainingError, match=r"out of memory: lower trainer\.batch_size \(it is 8\), dataset\.image_s"):
        train(make_config("tracking=off"))


def test_ctrl_c_ends_the_run_as_killed(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.ReportEpochs, "on_epoch_end", interrupt)
    config = make_config()
    with pytest.raises(KeyboardInterrupt):
        train(config)
    (run,) = open_store(config.tracking).search_runs(output_format="list")
    assert run.info.status == "KILLED"


def test_a_schedulers_sigterm_ends_the_run_as_killed(
    make_config: MakeConfig, sandbox: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(callbacks.ReportEpochs, "on_epoch_end", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    arguments = ["dataset.synthetic.count=32", "dataset.image_size=32", "trainer.epochs=1", *sandbox]
    monkeypatch.setattr(sys, "argv", ["src/train.py", *arguments])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        main()
    signal.signal(signal.SIGTERM, before)
    assert stop.value.code == 143
    (run,) = open_store(make_config().tracking).search_runs(output_format="list")
    assert run.info.status == "KILLED"
    onward = f"to go on with the run: python -m src.train resume={run.info.run_id}\n"
    assert capsys.readouterr().err == f"{onward}error: terminated\n"


def test_what_was_not_looked_for_is_not_claimed(make_config: MakeConfig) -> None:
    hashing = make_config("dataset=photos", "dataset.path=PHOTOS", "dataset.near_duplicate_distance=4")
    hashed = looked_for(hashing.dataset)
    assert "near-duplicate of a training image was found" in hashed
    assert "up to 4 of 64 pHash bits and 10 dHash bits" in hashed
    exact_only = make_config("dataset=photos", "dataset.path=PHOTOS", "dataset.near_duplicate_distance=null")
    assert looked_for(exact_only.dataset) == "none of which has the same pixels as a training image"


def test_overfit_learns_one_batch_and_judges_nothing(
    make_config: MakeConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    result = train(make_config("trainer=overfit", "trainer.epochs=150", "tracking=off", "dataset.image_size=48"))
    assert result.evaluation is None
    assert result.fit.history["accuracy"][-1] == 1.0
    assert "did not improve" not in capfd.readouterr().out  # nothing was validated


def test_overfit_that_fails_says_so(make_config: MakeConfig) -> None:
    with pytest.raises(TrainingError, match="one batch was not learned in 2 epochs"):
        train(make_config("trainer=overfit", "trainer.epochs=2", "optimizer.learning_rate=1e-7", "tracking=off"))


def test_without_tracking_the_record_is_a_folder(make_config: MakeConfig, tmp_path: Path) -> None:
    result = train(make_config("tracking=off", f"output={tmp_path}/record", "trainer.class_weights=balanced", FIGURES))
    assert result.run_id is None
    names = {path.name for path in (tmp_path / "record").iterdir()}
    assert {"config.yaml", "model.keras", "predictions.parquet", "summary.md", "figures"} <= names
    model = keras.saving.load_model(tmp_path / "record" / "model.keras")
    assert model.count_params() == result.cost.parameters
    assert open_store(make_config().tracking).search_runs(output_format="list") == []
