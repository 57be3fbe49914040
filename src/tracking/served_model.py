"""The model that MLflow runs as code: `mlflow models serve` and `mlflow.pyfunc.load_model` execute this file."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pandas as pd
from happy_sad.runtime.bundle import open_bundle
from happy_sad.runtime.photos import open_classifier
from happy_sad.tracking.flavour import BUNDLE, INPUT, output_columns
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ServedModel(PythonModel):
    """Answers for a column of pictures; one that cannot be read gets its verdict in its own row."""

    def load_context(self, context: PythonModelContext) -> None:
        self.classifier = open_classifier(open_bundle(Path(context.artifacts[BUNDLE])))

    # MLflow would make a schema of type hints here, in place of the one that it is given.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """A row for each picture, with the columns that the signature names."""
        names = self.classifier.bundle.class_names
        rows = [answer.fields(names) for answer in self.classifier.answer_inputs(model_input[INPUT])]
        return pd.DataFrame(rows, columns=list(output_columns(names)), dtype=object)  # which keeps None, null in JSON


mlflow.models.set_model(ServedModel())
