"""The model that MLflow runs as code: `mlflow models serve` and `mlflow.pyfunc.load_model` execute this file."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pandas as pd
from happy_sad.runtime.bundle import open_bundle
from happy_sad.runtime.photos import open_classifier
from happy_sad.tracking.flavour import BUNDLE, INPUT, OUTPUTS
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ServedModel(PythonModel):
    """Answers for a column of pictures; one that cannot be read gets its verdict in its own row."""

    def load_context(self, context: PythonModelContext) -> None:
        self.classifier = open_classifier(open_bundle(Path(context.artifacts[BUNDLE])))

    # MLflow would make a schema of type hints here, in place of the one that it is given.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Columns label, probability (of class 1), verdict, detail and evidence; a row for each picture."""
        answers = self.classifier.answer_inputs(model_input[INPUT])
        rows = [[getattr(answer, name) for name in OUTPUTS] for answer in answers]
        return pd.DataFrame(rows, columns=list(OUTPUTS), dtype=object)  # which keeps None, null in JSON


mlflow.models.set_model(ServedModel())
