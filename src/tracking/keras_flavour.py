"""A Keras model's file as the MLflow model that `mlflow.tensorflow` writes, without importing TensorFlow for it.

MLflow's own `log_model` saves the model anew and tries the example on it, in a process that has TensorFlow.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


def log_keras_model(mlflow: ModuleType, file: Path, example: np.ndarray, backend: str) -> None:
    """Log the model in `file` to the active run, with its signature; `example` is a batch of images.

    Requirements are named because guessing them takes MLflow ten seconds.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    from . import keras_flavour

    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # a line that says it looks at the example
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *example.shape[1:]))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, 1))]),
    )
    if backend != "tensorflow":
        import keras

        requirements = [f"{package}=={version(package)}" for package in ("keras", backend)]
        model = keras.saving.load_model(file)  # mlflow.keras has no working input_example
        mlflow.keras.log_model(model, name="model", signature=signature, pip_requirements=requirements)
        return
    Model.log(
        artifact_path=None,
        name="model",
        flavor=keras_flavour,
        flavor_name="tensorflow",
        keras_file=file,
        signature=signature,
        input_example=example,
        validate_serving_input=False,
    )


def save_model(path: str, mlflow_model: Any, keras_file: Path, validate_serving_input: bool, **arguments: Any) -> None:
    """Write the model into the folder `path`, as `mlflow.models.Model.log` asks of the module of a flavour."""
    import mlflow
    from mlflow.models.model import MLMODEL_FILE_NAME

    assert not validate_serving_input  # noqa: S101 - Model.log reads it: that would need TensorFlow
    requirements = [f"{package}=={version(package)}" for package in ("keras", "tensorflow")]
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "keras"
        data.mkdir()
        shutil.copyfile(keras_file, data / "model.keras")
        (data / "keras_module.txt").write_text("keras")
        (data / "save_format.txt").write_text("tf")
        mlflow.pyfunc.save_model(
            path,
            mlflow_model=mlflow_model,
            loader_module="mlflow.tensorflow",
            data_path=str(data),
            pip_requirements=requirements,
            **arguments,
        )
    for file in (Path(path) / "data" / "keras").iterdir():  # MLflow's loader looks for MLmodel in the folder above
        file.rename(Path(path) / "data" / file.name)
    (Path(path) / "data" / "keras").rmdir()
    mlflow_model.flavors["python_function"]["data"] = "data"
    mlflow_model.add_flavor(
        "tensorflow",
        code=None,
        data="data",
        model_type="keras",
        keras_version=version("tensorflow"),
        save_format="tf",
    )
    mlflow_model.save(str(Path(path) / MLMODEL_FILE_NAME))
