"""A local store whose folder was renamed or moved: MLflow keeps absolute paths, which then lead nowhere."""

from __future__ import annotations

import contextlib
import json
import shlex
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..config import TrackingConfig, shell_command
from ..errors import TrackingError
from .run_folder import RUN_FILE
from .spool import unsent_folders
from .store import artifact_root, folder_name, tracking_uri, unsent_root

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def check_place(config: TrackingConfig) -> None:
    """Raise TrackingError for a local store whose artifacts are recorded at another place that is not there."""
    if config.name == "off":
        return
    earlier = earlier_root(config)
    if earlier is not None:
        raise TrackingError(
            f"{tracking_uri(config)}: was moved here, and its artifacts are recorded below {_path(earlier)}, which is "
            f"not there; {shell_command('relocate')} {shlex.quote(str(_database(config)))} writes down the new place"
        )


def earlier_root(config: TrackingConfig) -> str | None:
    """The artifact root that a moved store still names; None for a store that is where it was made, or none."""
    root, database = artifact_root(config), _database(config)
    if root is None or not database.exists():
        return None
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        try:
            found = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
        except sqlite3.DatabaseError:
            return None  # not made yet, or locked: whoever opens it says so
    folders = [(location or "", f"/{folder_name(name)}") for name, location in found]
    roots = {location.removesuffix(folder) for location, folder in folders if location.endswith(folder)}
    gone = [each for each in roots - {root} if each.startswith("file:") and not _path(each).exists()]
    return min(gone, default=None)


def relocate(config: TrackingConfig) -> str | None:
    """Write the present place of a moved store's artifacts into it; the root that it named, None where none did."""
    root, earlier = artifact_root(config), earlier_root(config)
    if root is None or earlier is None:
        return None
    with contextlib.closing(sqlite3.connect(_database(config), timeout=30)) as connection, connection:
        for table, column in LOCATIONS:
            known = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            if column in known:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608 - names of ours
                    (root, len(earlier) + 1, len(earlier), earlier),
                )
    before, now = str(_path(earlier).parent), str(_database(config).parent)
    for folder in unsent_folders(unsent_root(config)):
        about = json.loads((folder / RUN_FILE).read_text())
        moved = {key: value.replace(before, now) if isinstance(value, str) else value for key, value in about.items()}
        (folder / RUN_FILE).write_text(json.dumps(moved))
    return earlier


def _database(config: TrackingConfig) -> Path:
    return Path(tracking_uri(config).removeprefix("sqlite:///"))


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))
