"""A bundle as an MLflow model that serves itself: this code, the bundle as data, no pickle."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..config import PACKAGE

BUNDLE = "bundle"
INPUT = "picture"
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
    """What `mlflow.pyfunc.save_model` and `log_model` need to know of the bundle in the folder `bundle`; `code` is the
    package that serves it.

    The one input column takes a picture's bytes (in JSON as base64) or its pixels; see `src.runtime.classifier`. From
    Python that is `predict({"picture": pictures})`: MLflow rejects a bare array of four dimensions for any column.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    class_names = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["class_names"]
    signature = ModelSignature(
        inputs=Schema([ColSpec(AnyType(), INPUT)]),
        outputs=Schema([ColSpec(kind, name) for name, kind in output_columns(class_names).items()]),
    )
    return {
        "python_model": str(SCRIPT),
        "artifacts": {BUNDLE: str(bundle)},
        "code_paths": [str(code)],
        "signature": signature,
        "pip_requirements": [f"{package}=={version(package)}" for package in REQUIREMENTS],
    }


def bundle_place(flavors: Mapping[str, Any]) -> str | None:
    """Where in a logged model of these flavours the bundle lies; None where it holds none."""
    artifacts = flavors.get("python_function", {}).get("artifacts") or {}
    return artifacts[BUNDLE]["path"] if BUNDLE in artifacts else None
