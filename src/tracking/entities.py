"""A data set and a model as MLflow wants them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

SPLIT_CONTEXTS = {"train": "training", "validation": "validation", "test": "testing"}


def dataset_inputs(name: str, digest: str, split_digests: Mapping[str, str], source: str) -> list[Any]:
    """The parts of a data set as MLflow's inputs of a run."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    inputs = []
    for split, split_digest in split_digests.items():
        origin = CodeDatasetSource(tags={"source": source, "digest": digest})
        meta = MetaDataset(source=origin, name=f"{name}-{split}", digest=split_digest[:36])  # type: ignore[abstract]
        context = InputTag(MLFLOW_DATASET_CONTEXT, SPLIT_CONTEXTS.get(split, split))
        inputs.append(DatasetInput(meta._to_mlflow_entity(), [context]))
    return inputs


def log_keras_model(mlflow: ModuleType, model: keras.Model, example: np.ndarray) -> None:
    """Log the model to the active run, with its signature.

    Requirements are named because guessing them takes MLflow ten seconds.
    """
    import keras
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    backend = keras.backend.backend()
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *example.shape[1:]))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, 1))]),
    )
    requirements = [f"{package}=={version(package)}" for package in ("keras", backend)]
    if backend == "tensorflow":
        # MLflow tries the example on the model, and Keras shows a bar for it.
        with contextlib.redirect_stdout(io.StringIO()):
            mlflow.tensorflow.log_model(
                model, name="model", signature=signature, input_example=example, pip_requirements=requirements
            )
    else:  # mlflow.keras has no working input_example
        mlflow.keras.log_model(model, name="model", signature=signature, pip_requirements=requirements)
