"""The commands as functions, and the notebook that shows them."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from src.api import _composed, _overrides, compare, load_model, predict, train
from src.config import CONF, PROJECT_ROOT, Config
from src.errors import ConfigError
from src.evaluation.recorded import open_recorded
from src.runtime.bundle import Bundle
from tests.composing import TINY
from tests.trained_model import Trained

NOTEBOOK = PROJECT_ROOT / "docs" / "first_run.ipynb"


def test_a_mistake_is_raised_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="did you mean deep"):
        train("model=deeep")


@pytest.mark.parametrize("application", [False, True])
def test_values_may_be_given_as_python_has_them(application: bool) -> None:
    """In threads, and inside a Hydra application of the user's own too."""
    named = {"model": "deep", "trainer": {"epochs": 5, "checkpoint": None}, "name": "a, b", "model.filters": [8, 16]}
    written = ["model=deep", "trainer.epochs=5", "trainer.checkpoint=null", "name='a, b'", "model.filters=[8,16]"]

    def composed(given: object) -> Config:
        return _composed(list(_overrides([given], {})), Config, "config")  # type: ignore[list-item]

    with initialize_config_dir(str(CONF), version_base=None) if application else nullcontext():
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(composed, [named, written, dict(named), tuple(written)]))
        assert not application or compose("config", ["seed=7"]).seed == 7
    assert found[0] == found[1] == found[2] == found[3]
    assert (found[0].model.name, found[0].model.filters, found[0].name) == ("deep", [8, 16], "a, b")
    with pytest.raises(ConfigError, match="did you mean deep"):
        train(model="deeep")
    with pytest.raises(ConfigError, match=r"trainer.epochs=2.5: accepts an integer"):
        train({"trainer": {"epochs": 2.5}})


def test_images_by_name_as_bytes_and_as_pixels_get_the_same_answer(bundle: Bundle, album: Path) -> None:
    file = album / "a.png"
    pixels = np.asarray(Image.open(file).convert("RGB"))
    answers = predict([str(file), file, file.read_bytes(), pixels], model=str(bundle.folder))
    assert len(answers) == 4
    assert {"p_happy", "confidence", "verdict", "evidence"} <= set(answers.columns)  # those of every other way
    assert answers["path"].tolist() == [str(file), str(file), "0", "1"]
    assert answers.drop(columns="path").drop_duplicates().shape[0] == 1
    assert len(predict(pixels[None], model=str(bundle.folder))) == 1
    assert len(predict(album, model=str(bundle.folder))) == 5


def test_recorded_runs_are_opened_and_compared(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(trained.tracking.uri))
    assert load_model(trained.run_id).output_shape == (None, 1)
    comparison = compare(
        "resamples=100", f"output={tmp_path}", "log=false", f"filter=attributes.run_id = '{trained.run_id}'"
    )
    assert [run.id for run in comparison.rankings[0].candidates[0].runs] == [trained.run_id]
    assert comparison._repr_html_().startswith("<table")


def test_inside_a_run_of_the_program_ours_is_its_child(
    sandbox: list[str], make_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = sandbox[0].removeprefix("tracking.uri=")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):  # which MLflow sets
        monkeypatch.setenv(name, "")
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("mine")
    with mlflow.start_run() as own:
        result = train(TINY, sandbox, {"trainer": {"epochs": 1}}, output=tmp_path / "out")
        mlflow.log_metric("after", 1.0)
    assert mlflow.get_run(own.info.run_id).info.status == "FINISHED"
    assert mlflow.get_run(own.info.run_id).data.metrics == {"after": 1.0}
    child = mlflow.get_run(result.run_id)
    assert (child.info.status, child.data.tags["mlflow.parentRunId"]) == ("FINISHED", own.info.run_id)
    assert mlflow.get_tracking_uri() == uri
    with mlflow.start_run() as later:
        assert later.info.experiment_id == own.info.experiment_id
    table = mlflow.artifacts.load_dict(f"{child.info.artifact_uri}/predictions.json")
    assert {"label", "probability"} <= set(table["columns"])
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    model = mlflow.keras.load_model(f"runs:/{result.run_id}/model")
    assert len(model.evaluate(pixels, np.zeros(2), verbose=0)) == 3  # compiled: loss and two metrics
    assert mlflow.pyfunc.load_model(f"runs:/{result.run_id}/model").predict(pixels).shape == (2, 1)
    assert open_recorded(make_config().tracking, str(tmp_path / "out")).load().output_shape == (None, 1)


@pytest.mark.integration
def test_the_notebook_runs(sandbox: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)  # of other tests
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sandbox[0].removeprefix("tracking.uri="))
    notebook = json.loads(NOTEBOOK.read_text())
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), names)  # noqa: S102 - our own
    assert names["model"].count_params() == names["result"].cost.parameters
    assert names["again"].scores["test"]["accuracy"].value == names["result"].scores["test/accuracy"]
