"""The model that MLflow runs as code: `mlflow models serve` and `mlflow.pyfunc.load_model` execute this file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from happy_sad.runtime.bundle import open_bundle
from happy_sad.runtime.photos import open_predictor
from happy_sad.tracking.model import BUNDLE, INPUT, output_columns
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class Predicting:
    """`predict` without type hints, from which MLflow would make a schema in place of the one that it is given. It is
    inherited, as MLflow asks for them at every loading where the class itself defines it.
    """

    classifier: Any

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """A row for each of `images_in`, with the columns that the signature names."""
        names = self.classifier.bundle.class_names
        rows = [answer.fields(names) for answer in self.classifier.answer_inputs(images_in(model_input))]
        return pd.DataFrame(rows, columns=list(output_columns(names)), dtype=object)  # which keeps None, null in JSON


class ServedModel(Predicting, PythonModel):
    """Answers for images; one that cannot be read gets its verdict in its own row."""

    def load_context(self, context: PythonModelContext) -> None:
        self.classifier = open_predictor(open_bundle(Path(context.artifacts[BUNDLE])))


def images_in(given: Any) -> Iterable[Any]:
    """The images in what MLflow hands over: a column of a DataFrame or dict (`image`, or the only one), a list of
    files' bytes, base64 or pixels, a batch of pixels (n, height, width, 3), or one image of any of these kinds.

    Raises MlflowException for anything else.
    """
    if isinstance(given, pd.DataFrame | Mapping) and (INPUT in given or len(given.keys()) == 1):
        return images_in(given[INPUT if INPUT in given else next(iter(given.keys()))])
    if isinstance(given, str | bytes):
        return [given]
    if isinstance(given, list | tuple) and given and not isinstance(given[0], str | bytes | np.ndarray):
        with contextlib.suppress(ValueError):  # images of different sizes
            given = np.asarray(given)
    if isinstance(given, np.ndarray):
        one = given.ndim in (0, 2) or (given.ndim == 3 and given.shape[2] == 3)
        return [given] if one else given
    if isinstance(given, list | tuple | pd.Series):
        return given
    raise MlflowException(
        f"images are wanted, as a column {INPUT!r} (bytes or base64), a list of bytes or base64, or pixels from 0 to "
        f"255 (n, height, width, 3); got {_described(given)}",
        error_code=INVALID_PARAMETER_VALUE,
    )


def _described(given: Any) -> str:
    columns = list(map(str, given.keys())) if isinstance(given, pd.DataFrame | Mapping) else []
    return type(given).__name__ + (f" with columns {', '.join(columns)}"[:200] if columns else "")


mlflow.models.set_model(ServedModel())
