"""Where the bytes of one picture are: a locator is small, can be sent to another process and reads its own part only.

`signature` changes whenever the content may have changed, without reading it.
"""

from __future__ import annotations

import functools
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, TypeAlias

READ_ERRORS = (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, tarfile.TarError, zlib.error)
"""What reading a missing, locked, encrypted or damaged file or archive member raises."""


@dataclass(frozen=True, slots=True)
class FileLocator:
    """A file of its own, with its size in bytes and its time of change in ns when it was listed."""

    path: str
    size: int
    changed: int

    @property
    def signature(self) -> str:
        return f"{self.size}@{self.changed}"

    def read(self, limit: int) -> bytes:
        """At most `limit` bytes; raises one of READ_ERRORS. Devices and pipes are rejected, for they may never end."""
        with open(self.path, "rb", opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError("not a regular file")
            return file.read(limit)


@dataclass(frozen=True, slots=True)
class ZipLocator:
    """A member of a zip archive, named by its place in the archive's directory (names may repeat)."""

    archive: str
    index: int
    signature: str

    def read(self, limit: int) -> bytes:
        """At most `limit` bytes, whatever size the directory claims; raises one of READ_ERRORS."""
        archive = _open_zip(self.archive, self.signature.partition("#")[0])
        with archive.open(archive.infolist()[self.index]) as member:
            return member.read(limit)


@dataclass(frozen=True, slots=True)
class RangeLocator:
    """A run of bytes in a file: a member of an uncompressed tar."""

    file: str
    offset: int
    size: int
    signature: str

    def read(self, limit: int) -> bytes:
        """At most `limit` bytes; raises OSError."""
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            return file.read(min(self.size, limit))


@dataclass(frozen=True, slots=True)
class StreamLocator:
    """A member of a compressed tar, found by reading the archive up to it: many are read at once by `read_streams`."""

    archive: str
    index: int
    signature: str

    def read(self, limit: int) -> bytes:
        """At most `limit` bytes; raises one of READ_ERRORS."""
        return next(read_streams(self.archive, [self.index], limit))


@dataclass(frozen=True, slots=True)
class BytesLocator:
    """Bytes in memory."""

    data: bytes
    signature: str = ""

    def read(self, limit: int) -> bytes:
        """At most `limit` bytes."""
        return self.data[:limit]


@dataclass(frozen=True, slots=True)
class PixelTextLocator:
    """Grey values written as decimal numbers in a file, row by row: a line of fer2013.csv."""

    file: str
    offset: int
    size: int
    signature: str

    def read(self, limit: int) -> bytes:
        """The text itself; raises OSError."""
        return RangeLocator(self.file, self.offset, self.size, self.signature).read(limit)


@dataclass(frozen=True, slots=True)
class SyntheticLocator:
    """Face `index` of the synthetic set named by `seed`."""

    seed: int
    index: int
    ambiguity: float

    @property
    def signature(self) -> str:
        return f"{self.seed}/{self.ambiguity!r}"


Locator: TypeAlias = (
    FileLocator | ZipLocator | RangeLocator | StreamLocator | BytesLocator | PixelTextLocator | SyntheticLocator
)


def read_streams(archive: str, indices: Iterable[int], limit: int) -> Iterator[bytes]:
    """The members of a compressed tar at `indices` (ascending), in one pass, each cut at `limit` bytes.

    Raises one of READ_ERRORS.
    """
    wanted = iter(indices)
    index = next(wanted, None)
    with tarfile.open(archive, "r|*") as tar:
        for position, member in enumerate(tar):
            if position != index:
                continue
            content: IO[bytes] | None = tar.extractfile(member) if member.isreg() else None
            yield content.read(limit) if content else b""
            index = next(wanted, None)
            if index is None:
                return


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@functools.lru_cache(maxsize=4)
def _open_zip(path: str, signature: str) -> zipfile.ZipFile:  # noqa: ARG001  (an archive that changed is opened anew)
    return zipfile.ZipFile(path)
