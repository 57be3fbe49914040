"""The commands as functions, for notebooks and programs: `from happy_sad.api import train` (`src.api` in a checkout).

    result = train(model="deep", dataset="photos", trainer={"epochs": 5}, seed=1)
    result.scores["test/accuracy"]

Values are given by name or as on the command line (`"model=deep"`), alone, in a list or in a mapping of sections; they
are checked in the same way, and recorded in the same runs. What a user can fix is raised as a `UserError` of one line.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .config import CONF, CompareConfig, Config, ConfigType, EvaluateConfig
from .config.identity import Request
from .tracking.store import mlflow_state

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd

    from .comparison.comparison import Comparison
    from .evaluation.evaluation import Evaluation
    from .training.run import TrainResult

__all__ = ["compare", "evaluate", "load_model", "predict", "train"]

Given: TypeAlias = "str | Mapping[str, Any] | Iterable[str]"
"""`key=value`, several of them, or values by their keys, in sections or with dots."""

_COMPOSING = threading.Lock()
"""Hydra's state is the whole process's."""


@mlflow_state()
def train(*given: Given, **values: Any) -> TrainResult:
    """Train one run, as `python -m src.train` does: prepare, fit, evaluate and record it. Inside a run that the program
    has open in the same store it becomes a child of that run.

    `scores` of the result has `test/accuracy`, `test/accuracy_low` and so on, `fit.history` the values of each epoch,
    `evaluation` the predictions, `run_id` the run in MLflow. Raises ConfigError, DataError, TrainingError or
    TrackingError.
    """
    from .training.run import train as run

    overrides = list(_overrides(given, values))
    config = _composed(overrides, Config, "config")
    return run(config, Request.of("train", config, overrides))


@mlflow_state()
def evaluate(run: str = "latest", *given: Given, **values: Any) -> Evaluation:
    """Evaluate a recorded model, as `python -m src.evaluate run=RUN` does.

    `run` is an id, `latest`, `best`, `models:/NAME@ALIAS` or a folder; its own data unless `dataset=` says otherwise.
    `scores["test"]["accuracy"]` of the result has value, low and high. Raises DataError or TrackingError.
    """
    from .training.backend import start_backend

    overrides = list(_overrides(({"run": run}, *given), values))
    config = _composed(overrides, EvaluateConfig, "evaluate")
    start_backend()
    from .evaluation.reevaluation import evaluate as run_evaluation

    return run_evaluation(config, Request.of("evaluate", config, overrides))


@mlflow_state()
def compare(*given: Given, **values: Any) -> Comparison:
    """Compare recorded runs on the same test images, as `python -m src.compare` does; the page is written too.

    `rankings` of the result has the candidates, the best first, with their intervals and pairs. Raises TrackingError.
    """
    from .compare import as_override
    from .comparison.run_comparison import compare_runs

    overrides = [as_override(each) for each in _overrides(given, values)]
    return compare_runs(_composed(overrides, CompareConfig, "compare"))


@mlflow_state()
def predict(
    images: str | Path | bytes | np.ndarray | Iterable[str | Path | bytes | np.ndarray], model: str | None = None
) -> pd.DataFrame:
    """Answers for images, a row for each, with the columns of `python -m src.predict --csv`.

    An image is a file's name, its bytes, or pixels (height, width, 3) in 0..255; a folder stands for the images in
    it. `model` is a bundle's folder, a run's id or `models:/NAME@ALIAS`; None is the shipped one. Needs no TensorFlow
    where the model is a bundle. Raises DataError or BundleError.
    """
    import numpy as np
    import pandas as pd

    from .conversion.opening import open_model
    from .runtime.photos import open_predictor
    from .runtime.predictor import Answer, answer_fields, list_images

    several = [images] if isinstance(images, str | Path | bytes | np.ndarray) else list(images)
    if isinstance(images, np.ndarray) and images.ndim == 4:
        several = list(images)
    classifier = open_predictor(open_model(model))
    answers: list[Answer] = []
    sent = 0  # of what is no file, whose answers are named by their places
    for each in several:
        if isinstance(each, str | Path):
            answers += classifier.answers(list_images([str(each)], recursive=False))
        else:
            found = classifier.answer_inputs([each])
            numbered = [replace(answer, path=str(place)) for place, answer in enumerate(found, sent)]
            answers += numbered
            sent += len(numbered)
    names = classifier.bundle.class_names
    return pd.DataFrame([answer.fields(names) for answer in answers], columns=list(answer_fields(names)))


@mlflow_state()
def load_model(run: str = "latest") -> keras.Model:
    """The Keras model of a recorded run, with the weights of its best epoch: float32 pixels in 0..255, shape
    (n, side, side, 3), to uncalibrated P(positive class), (n, 1). `run` is as in `evaluate`. Raises TrackingError.
    """
    from .training.backend import start_backend

    start_backend()
    from .evaluation.recorded import open_recorded

    return open_recorded(_composed([], EvaluateConfig, "evaluate").tracking, run).load()


def _overrides(given: Iterable[Given], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was given as overrides of a command line."""
    for each in (*given, values):
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            yield from _of_section(each, "")
        else:
            yield from each


def _of_section(section: Mapping[str, Any], prefix: str) -> Iterator[str]:
    from .cli.composition import quoted

    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _of_section(value, f"{prefix}{key}.")
        elif isinstance(value, str | Path):
            yield quoted(prefix + key, str(value))
        else:
            yield f"{prefix}{key}={json.dumps(value)}"


def _composed(overrides: Iterable[str], schema: type[ConfigType], name: str) -> ConfigType:
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from .cli.composition import as_overrides, compose_checked

    with _COMPOSING:
        others = GlobalHydra.instance().hydra  # of an application that calls this
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(CONF), version_base=None):
                return compose_checked(as_overrides(list(overrides), schema), schema, name)
        finally:
            GlobalHydra.instance().hydra = others
