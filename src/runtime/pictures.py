"""Pictures to predict: files, folders or standard input, listed in a fixed order and read under the limits."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.images import DEFAULT_LIMITS, Limits
from ..data.samples import RejectedPictureError
from ..errors import DataError

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Picture:
    """Something to predict: `path` as it is shown; the bytes are read when its turn comes, but for standard input."""

    path: str
    data: bytes | None = None

    def read(self, limits: Limits = DEFAULT_LIMITS) -> bytes:
        """The file's bytes, one more than the limit at most. Raises RejectedPictureError."""
        if self.data is not None:
            return self.data
        try:
            with open(self.path, "rb") as file:
                return file.read(limits.bytes + 1)
        except OSError as error:
            raise RejectedPictureError("unreadable", error.strerror or str(error)) from None


def list_pictures(paths: Sequence[str], *, recursive: bool) -> list[Picture]:
    """The pictures that `paths` name, in their order; of a folder every file that is not hidden, sorted by path.

    Folders inside a folder are entered only with `recursive`, links to folders never. Raises DataError for a path that
    is not there.
    """
    found: list[Picture] = []
    for path in paths:
        if path == STDIN:
            found.append(Picture(STDIN, sys.stdin.buffer.read(DEFAULT_LIMITS.bytes + 1)))
        elif os.path.isdir(path):
            found += [Picture(file) for file in sorted(_files(path, recursive))]
        elif os.path.exists(path) and not os.path.isfile(path):
            raise DataError(f"{path}: neither a file nor a folder")
        elif os.path.exists(path):
            found.append(Picture(path))
        else:
            raise DataError(f"{path}: no such file or folder")
    if not found:
        raise DataError(f"{', '.join(paths)}: no pictures found; --recursive looks into folders inside folders too")
    return found


def _files(folder: str, recursive: bool) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror or error}") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_file():
            yield os.fspath(Path(entry.path))
        elif recursive and entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, recursive)
