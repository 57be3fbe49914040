"""The folder of a run: it ties the run to the sweep that it is a job of, and tells the sweep how far it is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import TrackingError
from . import store
from .store import SQLITE


@dataclass(frozen=True)
class Progress:
    """Progress of a run: `epoch` of `epochs` has ended, with these metrics."""

    epoch: int
    epochs: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class RunLink:
    """Tie of a run to others: the id of its sweep's run, what names the job, and where it reports its progress; or
    the id of the run that it goes on with.

    A job with a `job` that is begun again, because its machine was lost, goes on in the run that it had.
    """

    parent: str | None = None
    job: str | None = None
    status: Path | None = None
    resumed: str | None = None

    def report(self, metrics: Mapping[str, float], epoch: int, epochs: int) -> None:
        """Let the sweep know, in the file `status`, that `epoch` (from 1) of `epochs` has ended."""
        if self.status is not None:
            partial = self.status.with_suffix(".partial")
            values = {name: float(value) for name, value in metrics.items()}
            partial.write_text(json.dumps({"epoch": epoch, "epochs": epochs, "metrics": values}))
            os.replace(partial, self.status)

    def progress(self) -> Progress | None:
        """Read the last report; None before that, and for a job on another machine."""
        if self.status is None or not self.status.exists():
            return None
        return Progress(**json.loads(self.status.read_text()))


RUN_FILE, LOCK = "run.json", "lock"
TAG = "mlflow.beginning"
"""Tag of a run with the name of its folder, by which it is found where its process ended before it wrote down the id.
The prefix keeps it out of the UI's columns.
"""
MAX_RUN_FILE_BYTES = 100_000


@dataclass(frozen=True)
class SpooledRun:
    """A run's id (empty until its store has made it), the address of its store, its experiment, the folder of its
    artifacts, the machine it ran on, and the backend of its model.
    """

    run: str
    uri: str
    experiment: str
    record: Path
    host: str = ""
    backend: str = ""


def write_spooled_run(folder: Path, about: SpooledRun) -> None:
    """Write `run.json`, whole or not at all, and with this machine as its host. Raises OSError."""
    partial = folder / f".{RUN_FILE}.partial"
    partial.write_text(json.dumps({**vars(about), "record": str(about.record), "host": socket.gethostname()}))
    os.replace(partial, folder / RUN_FILE)


def read_spooled_run(folder: Path) -> SpooledRun:
    """Read the run in `folder`. Raises TrackingError for anything else, and for the store of a folder that is not the
    project's own unless it is the one beside the folder or the one that MLFLOW_TRACKING_URI names.
    """
    file = folder / RUN_FILE
    try:
        if not file.is_file():
            raise ValueError
        with file.open("rb") as stream:
            found = json.loads(stream.read(MAX_RUN_FILE_BYTES))
        values = [found[name] for name in ("run", "uri", "experiment", "record")]
        values += [found.get(name, "") for name in ("host", "backend")]
        if not all(isinstance(value, str) and value.isprintable() for value in values):
            raise ValueError
        run, uri, experiment, record, host, backend = values
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        raise TrackingError(f"{folder}: {RUN_FILE} there is no record of a run") from None
    if not (_is_own(folder) or _is_beside(uri, folder) or uri == os.environ.get(store.GIVEN_STORE)):
        raise TrackingError(
            f"{folder}: names the store {uri}, which is not beside it; if it is yours, set "
            f"{store.GIVEN_STORE}={uri} and sync again"
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
            "and sync again"
        )
    for path in {record, *record.rglob("*"), *folder.rglob("*")}:  # the model's file too
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise TrackingError(f"{path}: a link that leads out of {folder}; nothing is synced")
    return record


def _is_own(folder: Path) -> bool:
    return folder.resolve().parent == (store.STORE / "unsent").resolve()


def _is_beside(uri: str, folder: Path) -> bool:
    beside = folder.resolve().parent.parent
    return uri.startswith(SQLITE) and Path(uri.removeprefix(SQLITE)).resolve().parent == beside


@contextlib.contextmanager
def locked(folder: Path, holds: str = RUN_FILE) -> Iterator[None]:
    """Hold the lock of a run's folder, or of its checkpoint. Raises Timeout while a process is at the run.

    Trying the lock makes its file, and so brings back a folder that was removed just then: it goes again where what it
    `holds` is gone.
    """
    with FileLock(folder / LOCK, timeout=0):
        yield
        if not (folder / holds).exists():
            shutil.rmtree(folder, ignore_errors=True)


def is_free(folder: Path, holds: str = RUN_FILE) -> bool:
    """Return whether no process is at the run of a folder."""
    try:
        with locked(folder, holds):
            return True
    except (FileNotFoundError, FileExistsError):  # the folder was removed just then
        return True
    except Timeout:
        return False
