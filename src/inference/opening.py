"""The bundle that a user names: a folder, the shipped one, or one made from a recorded run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from src.config import PROJECT_ROOT, ExportConfig, TrackingConfig
from src.errors import BundleError
from src.inference.bundle import Bundle, open_bundle

SHIPPED = PROJECT_ROOT / "models" / "happy_sad"
MADE = PROJECT_ROOT / ".cache" / "bundles"


def open_model(which: str | None = None, tracking: TrackingConfig | None = None) -> Bundle:
    """The bundle in the folder `which`, or of a run's id, `best`, `latest` or `models:/NAME@ALIAS`; None is the
    shipped one.

    A run's model is exported once and kept; only that needs TensorFlow and MLflow. Raises BundleError, TrackingError
    or DataError.
    """
    folder = SHIPPED if which is None else Path(which).expanduser()
    if which is None or folder.is_dir():
        return open_bundle(folder)
    if "/" in which and not which.startswith("models:/"):
        raise BundleError(f"{which}: no such folder; name a bundle's folder, a run id or models:/NAME@ALIAS")
    return _exported(which, tracking or TrackingConfig("local"))


def _exported(which: str, tracking: TrackingConfig) -> Bundle:
    from src.tracking.read import find_run

    run = find_run(tracking, which)
    folder = MADE / run.id
    if folder.is_dir():
        return open_bundle(folder)
    from src.training.backend import start_backend

    start_backend()
    from src.data.prepared import prepare
    from src.evaluation.recorded import open_recorded
    from src.inference.exporting import build_bundle, install

    recorded = open_recorded(tracking, run.id)
    config = ExportConfig(tracking, run.id, formats=["litert"])
    with tempfile.TemporaryDirectory(prefix="happy-sad-") as temporary:
        bundle, _ = build_bundle(recorded, prepare(recorded.config.dataset), config, Path(temporary), run.name)
        return install(bundle, folder)
