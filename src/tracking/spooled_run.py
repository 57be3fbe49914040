"""What the folder of a run says of itself, `run.json`: which store the run is in, and which files become its artifacts.

The project's own `mlruns/unsent` is written by this user alone. A folder elsewhere may come from someone else, and must
neither choose where something is sent nor which files are.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from ..errors import TrackingError
from . import store
from .sqlite_store import SQLITE

ABOUT = "run.json"
MAX_ABOUT_BYTES = 100_000


@dataclass(frozen=True)
class SpooledRun:
    """A run's id, the address of its store, its experiment, the folder of its artifacts, the machine it ran on, and the
    backend of its model.
    """

    run: str
    uri: str
    experiment: str
    record: Path
    host: str = ""
    backend: str = ""


def write_spooled_run(folder: Path, about: SpooledRun) -> None:
    """Write `run.json`, whole or not at all, and with this machine as its host. Raises OSError."""
    partial = folder / f".{ABOUT}.partial"
    partial.write_text(json.dumps({**vars(about), "record": str(about.record), "host": socket.gethostname()}))
    os.replace(partial, folder / ABOUT)


def read_spooled_run(folder: Path) -> SpooledRun:
    """What `folder` says. Raises TrackingError for anything else, and for the store of a folder that is not the
    project's own unless it is the one beside the folder or the one that MLFLOW_TRACKING_URI names.
    """
    file = folder / ABOUT
    try:
        if not file.is_file():
            raise ValueError
        with file.open("rb") as stream:
            found = json.loads(stream.read(MAX_ABOUT_BYTES))
        values = [found[name] for name in ("run", "uri", "experiment", "record")]
        values += [found.get(name, "") for name in ("host", "backend")]
        if not all(isinstance(value, str) and value.isprintable() for value in values):
            raise ValueError
        run, uri, experiment, record, host, backend = values
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        raise TrackingError(f"{folder}: {ABOUT} there is no record of a run") from None
    if not (_is_own(folder) or _is_beside(uri, folder) or uri == os.environ.get(store.GIVEN_STORE)):
        raise TrackingError(
            f"{folder}: names the store {uri}, which is not beside it; if it is yours, set "
            f"{store.GIVEN_STORE}={uri} and send again"
        )
    return SpooledRun(run, uri, experiment, Path(record), host, backend)


def artifacts_of(folder: Path, about: SpooledRun) -> Path:
    """The folder whose files become artifacts. Raises TrackingError where a folder that is not the project's own names
    files outside of it, by its words or by a link.
    """
    if _is_own(folder):
        return about.record
    inside = folder.resolve()
    record = about.record if about.record.resolve().is_relative_to(inside) else folder / "record"
    if not record.is_dir():
        raise TrackingError(
            f"{folder}: names artifacts in {about.record}, outside of it; copy them to {folder / 'record'}, "
            "and send again"
        )
    for path in {record, *record.rglob("*"), *folder.rglob("*")}:  # the model's file too
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise TrackingError(f"{path}: a link that leads out of {folder}; nothing is sent")
    return record


def _is_own(folder: Path) -> bool:
    return folder.resolve().parent == (store.STORE / "unsent").resolve()


def _is_beside(uri: str, folder: Path) -> bool:
    beside = folder.resolve().parent.parent
    return uri.startswith(SQLITE) and Path(uri.removeprefix(SQLITE)).resolve().parent == beside
