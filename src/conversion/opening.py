"""The bundle that a user names: a folder, the shipped one, or one made from a recorded run."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import PROJECT_ROOT, SHIPPED_MODEL, ExportConfig, TrackingConfig
from ..errors import BundleError
from ..runtime.bundle import Bundle, open_bundle

if TYPE_CHECKING:
    from ..tracking.read import RecordedRun

BUNDLES = PROJECT_ROOT / ".cache" / "bundles"


def open_model(which: str | None = None, tracking_uri: str | None = None) -> Bundle:
    """The bundle in the folder `which`, or of a run's id, `best`, `latest` or `models:/NAME@ALIAS`; None is the
    shipped one. `tracking_uri` names another store of runs than the project's own.

    A run's model is exported once and kept, a registered one brings its bundle; only these need MLflow, and only the
    export TensorFlow. Raises BundleError, TrackingError or DataError.
    """
    folder = SHIPPED_MODEL if which is None else Path(os.path.expanduser(which))
    if which is None or folder.is_dir():
        return open_bundle(folder)
    if "/" in which and not which.startswith("models:/"):
        raise BundleError(f"{which}: no such folder; name a bundle's folder, a run id or models:/NAME@ALIAS")
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or TrackingConfig.experiment
    tracking = TrackingConfig("default", tracking_uri, experiment)
    from ..tracking.read import find_run
    from ..tracking.store import say_store

    say_store(tracking, sys.stderr)
    registered = _registered(which, tracking) if which.startswith("models:/") else None
    return registered or export_run(find_run(tracking, which, "model"), tracking)


def _registered(which: str, tracking: TrackingConfig) -> Bundle | None:
    """The bundle inside a model that `python -m src.register` registered; None for one logged without."""
    from ..tracking.registry import registered_bundle

    folder = registered_bundle(tracking, which, BUNDLES)
    return None if folder is None else open_bundle(folder)


def export_run(run: RecordedRun, tracking: TrackingConfig) -> Bundle:
    """The bundle of a run's model, exported at the first call and kept. Raises as `open_model` does."""
    folder = BUNDLES / run.id
    if folder.is_dir():
        return open_bundle(folder)
    from ..training.backend import start_backend

    start_backend()
    from ..data.prepared import prepare
    from ..evaluation.recorded import open_recorded
    from .exporting import build_bundle, install

    recorded = open_recorded(tracking, run.id)
    config = ExportConfig(tracking, run.id, formats=["litert"])
    with tempfile.TemporaryDirectory(prefix="happy-sad-") as temporary:
        bundle, _ = build_bundle(recorded, prepare(recorded.config.dataset), config, Path(temporary), run.name)
        return install(bundle, folder)
