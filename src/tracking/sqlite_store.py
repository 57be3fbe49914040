"""A local store: one SQLite file, made whole or not at all."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path

from filelock import FileLock

from ..errors import TrackingError

SQLITE = "sqlite:///"


def check_folder(uri: str) -> None:
    """A SQLite store needs a folder that can be written: say so before MLflow retries for half a minute."""
    if not uri.startswith(SQLITE):
        return
    database = Path(uri.removeprefix(SQLITE))
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingError(f"{database.parent}: {error.strerror}; name another store with tracking.uri=") from error
    target = database if database.exists() else database.parent
    if not os.access(target, os.W_OK) or not os.access(database.parent, os.W_OK):
        raise TrackingError(
            f"{target} is read-only, so no run can be recorded there; make it writable, "
            "name another store with tracking.uri=sqlite:////path/mlflow.db, or use tracking=off"
        )


def check_experiment(database: Path, name: str) -> None:
    """Raise TrackingError for an experiment that was deleted, and to which MLflow would add no run."""
    if not _is_whole(database):
        return
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        found = connection.execute("SELECT lifecycle_stage FROM experiments WHERE name = ?", (name,)).fetchone()
    if found is not None and found[0] != "active":
        raise TrackingError(
            f"tracking.experiment={name}: was deleted; name another, or restore it with mlflow experiments restore"
        )


def create_database(uri: str) -> None:
    """Make a SQLite store whole or not at all: under a lock, in a temporary file that is renamed.

    MLflow's own way leaves a database without use where two processes make it at once, or one is interrupted. Such a
    file, which holds no run, is put aside.
    """
    database = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or _is_whole(database):
        return
    from mlflow import MlflowClient

    with FileLock(database.with_name(f".{database.name}.lock")):
        if _is_whole(database):
            return
        if database.exists():
            os.replace(database, database.with_name(f"{database.name}.incomplete"))
            print(f"{database} was never completed and holds no run; a new one is made, the old one is kept beside it")
        with tempfile.TemporaryDirectory(dir=database.parent, prefix=".making-") as temporary:
            partial = Path(temporary) / database.name
            MlflowClient(f"sqlite:///{partial}").search_experiments()
            os.replace(partial, database)


def _is_whole(database: Path) -> bool:
    """Whether the file is a database that MLflow has finished making, or one that holds runs, of whatever version."""
    if not database.exists():
        return False
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        try:
            if connection.execute("SELECT count(*) FROM runs").fetchone()[0]:
                return True
            return bool(connection.execute("SELECT count(*) FROM experiments").fetchone()[0])
        except sqlite3.OperationalError as error:
            return "no such table" not in str(error)
