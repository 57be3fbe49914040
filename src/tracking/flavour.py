"""A bundle as an MLflow model that serves itself: this code, the bundle as data, no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..config import PROJECT_ROOT

BUNDLE = "bundle"
INPUT = "picture"
OUTPUTS = {"label": "string", "probability": "double", "verdict": "string", "detail": "string"}
"""Column -> MLflow type."""

SCRIPT = Path(__file__).with_name("served_model.py")
REQUIREMENTS = ("mlflow", "ai-edge-litert", "annotated-types", "numpy", "pandas", "pillow", "pydantic")


def model_arguments(bundle: Path) -> dict[str, Any]:
    """What `mlflow.pyfunc.save_model` and `log_model` need to know of the bundle in the folder `bundle`.

    The one input column takes a picture's bytes (in JSON as base64) or its pixels; see `src.runtime.inputs`. From
    Python that is `predict({"picture": pictures})`: MLflow rejects a bare array of four dimensions for any column.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    signature = ModelSignature(
        inputs=Schema([ColSpec(AnyType(), INPUT)]),
        outputs=Schema([ColSpec(kind, name) for name, kind in OUTPUTS.items()]),
    )
    return {
        "python_model": str(SCRIPT),
        "artifacts": {BUNDLE: str(bundle)},
        "code_paths": [str(PROJECT_ROOT / "src")],
        "signature": signature,
        "pip_requirements": [f"{package}=={version(package)}" for package in REQUIREMENTS],
    }


def bundle_place(flavors: Mapping[str, Any]) -> str | None:
    """Where in a logged model of these flavours the bundle lies; None where it holds none."""
    artifacts = flavors.get("python_function", {}).get("artifacts") or {}
    return artifacts[BUNDLE]["path"] if BUNDLE in artifacts else None
