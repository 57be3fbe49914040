"""A model that was recorded, with all that evaluating it again needs: from an MLflow run or from a folder.

A record may be another person's. Of its config only what decides a result is taken, never where something is written,
fetched from or recorded; its images are read where it says, as nothing else holds them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from ..config import Config, TrackingConfig, plain, read_yaml, to_config
from ..config.base import ENVIRONMENT, LAUNCH, SESSION, role_of
from ..data.tables import read_parquet
from ..errors import DataError, TrackingError
from ..metrics.calibration import Decision
from ..tracking.read import RecordedRun, artifact, find_run, model_folder
from .artifacts import DECISION, read_decision
from .leaks import FINGERPRINT_COLUMNS, FINGERPRINTS

if TYPE_CHECKING:
    import keras


CONFIG = "config.yaml"
CACHE = ".cache/prepared"
"""Where the images of recorded models are prepared, whatever their configs say."""

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, yaml.YAMLError, DataError)
"""What a record raises that is not as this program writes it."""


@dataclass(frozen=True)
class RecordedModel:
    """A trained model's file, the config and decision that belong to it, and fingerprints of what it was fitted on.

    `config` has this project's own places; its data sets are `offline`. `run` is None for a model that comes from a
    folder.
    """

    name: str
    file: Path
    config: Config
    decision: Decision
    fitted_on: pd.DataFrame
    run: RecordedRun | None

    def load(self) -> keras.Model:
        """Load the Keras model, without its optimizer. Raises TrackingError for what Keras does not load, such as a
        file that holds code of its own.
        """
        from ..models.weights import load_model

        try:
            return load_model(self.file)
        except ValueError as error:
            raise TrackingError(f"run={self.name}: its model {self.file.name} cannot be loaded: {error}") from None


def open_recorded(tracking: TrackingConfig, which: str) -> RecordedModel:
    """The model that `which` names: a run's id, `latest`, `best`, `models:/name@alias`, or a folder written by
    `output=`. Raises TrackingError where there is none or a part of it is missing.
    """
    folder = Path(os.path.expanduser(which))
    if folder.is_dir():
        return _from_files(folder.name, None, lambda name: folder / name, folder, tracking)
    run = find_run(tracking, which)
    return _from_files(run.name, run, lambda name: artifact(run, name), model_folder(run), tracking)


def _from_files(
    name: str,
    run: RecordedRun | None,
    find: Callable[[str], Path | None],
    models: Path | None,
    tracking: TrackingConfig,
) -> RecordedModel:
    models_found = sorted(models.rglob("*.keras")) if models else []
    found = {part: find(part) for part in (CONFIG, DECISION, FINGERPRINTS)}
    files = {part: path for part, path in found.items() if path is not None and path.exists()}
    missing = [part for part in found if part not in files] + ([] if models_found else ["model.keras"])
    if missing:
        raise TrackingError(f"run={name}: cannot be evaluated again, it lacks {', '.join(missing)}")
    config = _read_config(name, files[CONFIG], tracking)
    with _readable(name):
        decision, fitted_on = read_decision(files[DECISION]), read_parquet(files[FINGERPRINTS], FINGERPRINT_COLUMNS)
    return RecordedModel(name, models_found[0], config, decision, fitted_on, run)


def recorded_config(run: RecordedRun, tracking: TrackingConfig) -> Config:
    """The config of a run, with this project's own places. Raises TrackingError or ConfigError."""
    file = artifact(run, CONFIG)
    if file is None:
        raise TrackingError(f"run={run.name}: lacks {CONFIG}")
    return _read_config(run.name, file, tracking)


def _read_config(name: str, file: Path, tracking: TrackingConfig) -> Config:
    with _readable(name):
        return to_config(_without_places(read_yaml(file), tracking), Config)


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise TrackingError(f"run={name}: its record cannot be read: {type(error).__name__}: {reason}") from None


def _without_places(tree: Mapping[str, Any], tracking: TrackingConfig) -> dict[str, Any]:
    """A recorded config with the defaults for all that says where something goes or how it is recorded."""

    def deciding(node: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        return {
            key: deciding(value, f"{prefix}{key}.") if isinstance(value, dict) else value
            for key, value in node.items()
            if role_of(f"{prefix}{key}", Config) not in (ENVIRONMENT, SESSION, LAUNCH)
        }

    kept = deciding(tree, "") | {"tracking": plain(tracking)}
    kept["dataset"]["cache"] = CACHE
    for source in (kept["dataset"], *kept["dataset"].get("sources", {}).values()):
        source["offline"] = True
    return kept
