"""Append-only journals: one JSON object a line, so that what was written before a kill can be read after it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import DataError


def append_entry(file: Path, entry: Mapping[str, Any]) -> None:
    """Add one line, made where there is no file yet; it is on disk when this returns. Raises OSError, and then nothing
    of the line is left for a later one to follow.
    """
    size = file.stat().st_size if file.exists() else 0
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(file, size)
        raise


def read_entries(file: Path) -> list[dict[str, Any]]:
    """All entries in order; none where there is no file. A last line that a killed process did not finish is cut off,
    in the file too, so that the next entry starts a line. Raises DataError for another line that is no JSON object.
    """
    if not file.exists():
        return []
    data = file.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        os.truncate(file, whole)
    return [_entry(file, number, line) for number, line in enumerate(data[:whole].splitlines(), 1)]


def _entry(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        raise DataError(f"{file}: line {number} is no JSON object; the journal was changed by something else")
    return entry
