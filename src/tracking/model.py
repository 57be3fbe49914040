"""A bundle as an MLflow model that serves itself (this code, the bundle as data, no pickle), and beside it the Keras
model that it was exported from, for `mlflow.keras.load_model`.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import PACKAGE

if TYPE_CHECKING:
    import pandas as pd


BUNDLE, KERAS = "bundle", "keras"
EXAMPLE_SIZE = 96
INPUT = "image"
SCRIPT = Path(__file__).with_name("served_model.py")
REQUIREMENTS = (
    *("mlflow", "ai-edge-litert", "annotated-types", "numpy", "opencv-python-headless", "pandas", "pillow", "pydantic"),
)


@contextlib.contextmanager
def packaged_code() -> Iterator[Path]:
    """A copy of this package named `happy_sad`, importable inside the context: no package `src` leaves a checkout."""
    with tempfile.TemporaryDirectory(prefix="happy-sad-") as temporary:
        package = Path(temporary) / "happy_sad"
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "conf", "happy_sad"))
        sys.path.insert(0, temporary)
        try:
            yield package
        finally:
            sys.path.remove(temporary)


def output_columns(class_names: Sequence[str]) -> dict[str, str]:
    """Column -> MLflow type: the fields of an answer but for its path and model."""
    kinds = {"label": "string", f"p_{class_names[1]}": "double", "confidence": "double"}
    return kinds | dict.fromkeys(("verdict", "detail", "evidence"), "string")


def model_arguments(bundle: Path, code: Path) -> dict[str, Any]:
    """Arguments of `mlflow.pyfunc.save_model` and `log_model` for the bundle in the folder `bundle`; `code` is the
    package that serves it.

    The signature names no inputs, because no schema of MLflow's takes a column of base64, a list of files' bytes and a
    batch of pixels alike; `served_model` does.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    class_names = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["class_names"]
    outputs = Schema([ColSpec(kind, name) for name, kind in output_columns(class_names).items()])
    return {
        "python_model": str(SCRIPT),
        "artifacts": {BUNDLE: str(bundle)},
        "code_paths": [str(code)],
        "signature": ModelSignature(outputs=outputs),
        "input_example": input_example(),
        "pip_requirements": [f"{package}=={version(package)}" for package in REQUIREMENTS],
    }


def input_example() -> pd.DataFrame:
    """One synthetic face, as a PNG in base64."""
    import pandas as pd
    from PIL import Image

    from ..synthetic.faces import draw_face

    stream = io.BytesIO()
    Image.fromarray(draw_face(0, 0, EXAMPLE_SIZE)[0]).save(stream, "PNG")
    return pd.DataFrame({INPUT: [base64.b64encode(stream.getvalue()).decode()]})


def save_model(path: str, mlflow_model: Any, keras_model: Path | None, **arguments: Any) -> None:
    """Write the model into the folder `path`, as `mlflow.models.Model.log` asks of the module of a flavor.

    `arguments` are those of `model_arguments`; `keras_model` is the `.keras` file, where there is one.
    """
    import mlflow
    from mlflow.models.model import MLMODEL_FILE_NAME

    mlflow.pyfunc.save_model(path, mlflow_model=mlflow_model, **arguments)
    if keras_model is None:
        return
    folder = Path(path) / KERAS
    folder.mkdir()
    shutil.copy(keras_model, folder / "model.keras")  # the name that MLflow's loader looks for
    with zipfile.ZipFile(keras_model) as archive:
        made_by = json.loads(archive.read("metadata.json"))["keras_version"]
    mlflow_model.add_flavor(KERAS, data=KERAS, keras_version=made_by, save_exported_model=False)
    mlflow_model.save(str(Path(path) / MLMODEL_FILE_NAME))


def bundle_place(flavors: Mapping[str, Any]) -> str | None:
    """Path of the bundle in a logged model of these flavors; None where it holds none."""
    artifacts = flavors.get("python_function", {}).get("artifacts") or {}
    return artifacts[BUNDLE]["path"] if BUNDLE in artifacts else None
