"""Locators of one image's bytes: in a file of its own, in an archive, in memory or in a line of a table."""

from __future__ import annotations

import functools
import gzip
import itertools
import math
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, ClassVar, cast

import numpy as np
from PIL import Image

from ..errors import DataError
from .images import decode_image, prepare_image
from .samples import DecodedImage, FitMode, Limits, RejectedImageError, Sample

READ_ERRORS = (
    *(OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, tarfile.TarError),
    *(zlib.error, struct.error, UnicodeDecodeError),
)
"""Errors of reading a missing, locked, encrypted or corrupt file or archive member."""

_MAX_EXPANSION, _MIN_EXPANDED = 200, 300_000_000  # no images are packed to a 200th; below 300 MB none is a bomb
_MAX_HEADERS = 1_000_000

_SYSTEM_NAMES = (
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "__macosx",
    "thumbs.db",
    "desktop.ini",
)


def is_hidden(name: str) -> bool:
    """Return True for the name of a file or folder that programs keep for themselves: it holds nobody's images."""
    return (name.startswith(".") and name not in (".", "..")) or name.casefold() in _SYSTEM_NAMES


class ImageFile:
    """Base of the locators of image files."""

    __slots__ = ()
    has_file: ClassVar[bool] = True

    def decode(self, data: bytes, size: int, limits: Limits, fit: FitMode = "stretch") -> DecodedImage:
        """Return the image in `data`, whatever its format. Raises RejectedImageError."""
        return decode_image(data, size, limits, fit)


@dataclass(frozen=True, slots=True)
class FileLocator(ImageFile):
    """A file of its own, with its size in bytes and its time of change in ns when it was listed."""

    path: str
    size: int
    changed: int

    @property
    def signature(self) -> str:
        unreadable = "" if os.access(self.path, os.R_OK) else "?"  # permissions change neither size nor time
        return f"{self.size}@{self.changed}{unreadable}"

    def read(self, limit: int) -> bytes:
        """Return at most `limit` bytes; raises one of READ_ERRORS. Devices and pipes are rejected, for they may never
        end.
        """
        with open(self.path, "rb", opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError("not a regular file")
            return file.read(limit)


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@dataclass(frozen=True, slots=True)
class ZipLocator(ImageFile):
    """A member of a zip archive, named by its place in the archive's directory (names may repeat)."""

    archive: str
    index: int
    signature: str

    def read(self, limit: int) -> bytes:
        """Return at most `limit` bytes, whatever size the directory claims; raises one of READ_ERRORS."""
        archive = _open_zip(self.archive, self.signature.partition("#")[0])
        with archive.open(archive.infolist()[self.index]) as member:
            return member.read(limit)


@functools.lru_cache(maxsize=4)
def _open_zip(path: str, signature: str) -> zipfile.ZipFile:  # noqa: ARG001  (an archive that changed is opened anew)
    return zipfile.ZipFile(path)


@dataclass(frozen=True, slots=True)
class RangeLocator(ImageFile):
    """A run of bytes in a file: a member of an uncompressed tar."""

    file: str
    offset: int
    size: int
    signature: str

    def read(self, limit: int) -> bytes:
        """Return at most `limit` bytes; raises OSError."""
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            return file.read(min(self.size, limit))


@dataclass(frozen=True, slots=True)
class PixelTextLocator(RangeLocator):
    """Gray values written as decimal numbers in a file, row by row: a line of fer2013.csv."""

    def decode(self, data: bytes, size: int, limits: Limits, fit: FitMode = "stretch") -> DecodedImage:
        """Return the square image of the pixels that `data` lists. Raises RejectedImageError."""
        try:
            values = np.array(data.split(), dtype=np.uint8)
        except (ValueError, OverflowError):
            raise RejectedImageError("unreadable", "pixels that are no numbers from 0 to 255") from None
        side = round(len(values) ** 0.5)
        if not side or side * side != len(values):
            raise RejectedImageError("truncated", f"{len(values)} pixels make no square image")
        image = Image.fromarray(values.reshape(side, side))
        return DecodedImage(np.asarray(prepare_image(image, size)), side, side, "pixels", "L")


@dataclass(frozen=True, slots=True)
class BytesLocator(ImageFile):
    """Bytes in memory."""

    data: bytes
    signature: str = ""

    def read(self, limit: int) -> bytes:
        """Return at most `limit` bytes."""
        return self.data[:limit]


@dataclass(frozen=True, slots=True)
class StreamLocator(ImageFile):
    """A member of a compressed tar, found by reading the archive up to it: see `with_streamed_bytes` for many."""

    archive: str
    index: int
    signature: str

    def read(self, limit: int) -> bytes:
        """Return at most `limit` bytes; raises one of READ_ERRORS."""
        return next(_stream_members(self.archive, [self.index], limit))


def with_streamed_bytes(samples: Iterable[Sample], limit: int) -> Iterator[Sample]:
    """Yield the samples, those in compressed archives with their bytes, for which an archive is read once from its
    start.

    Each has at most `limit` bytes. Raises one of READ_ERRORS for a damaged archive.
    """
    for archive, run in itertools.groupby(samples, _streamed_archive):
        if archive is None:
            yield from run
            continue
        for members in _ascending(list(run)):
            indices = [index for index, _ in members]
            for (_, sample), data in zip(members, _stream_members(archive, indices, limit), strict=True):
                yield replace(sample, locator=BytesLocator(data))


def _streamed_archive(sample: Sample) -> str | None:
    return sample.locator.archive if isinstance(sample.locator, StreamLocator) else None


def _ascending(samples: Iterable[Sample]) -> Iterator[list[tuple[int, Sample]]]:
    """Yield runs of members of one archive with ascending indices: auxiliary images are listed last."""
    run: list[tuple[int, Sample]] = []
    for sample in samples:
        assert isinstance(sample.locator, StreamLocator)  # noqa: S101  (for the type checker)
        index = sample.locator.index
        if run and index <= run[-1][0]:
            yield run
            run = []
        run.append((index, sample))
    yield run


def _stream_members(archive: str, indices: Iterable[int], limit: int) -> Iterator[bytes]:
    """Yield the members of a compressed tar at `indices` (ascending), in one pass, each cut at `limit` bytes."""
    wanted = iter(indices)
    index = next(wanted, None)
    for position, (tar, member) in enumerate(tar_members(archive)):
        if position == index:
            content = tar.extractfile(member) if member.isreg() else None
            yield content.read(limit) if content else b""
            index = next(wanted, None)
        if index is None:
            return


class _TarBytes:
    """The bytes of a tar, of which no more than `allowed` are read: tarfile keeps the long names and PAX records of a
    member whole, however many they are once unpacked.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file
        self.allowed: float = _MAX_HEADERS

    def read(self, size: int) -> bytes:
        self.allowed -= size
        if self.allowed < 0:
            raise tarfile.ReadError("a member with headers of more than a megabyte")
        return self._file.read(size)


def is_packed_tar(path: str) -> bool:
    """Return True for a file in gzip, whatever its name is. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def tar_members(path: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield the members of a tar, which may be in gzip, with the archive to extract them from; in bounded memory.

    Raises one of READ_ERRORS, and DataError past `check_expansion`.
    """
    with gzip.open(path) if is_packed_tar(path) else open(path, "rb") as file:
        counted = _TarBytes(cast("IO[bytes]", file))
        with tarfile.open(fileobj=cast("IO[bytes]", counted), mode="r:") as archive:
            for member in iter(archive.next, None):
                check_expansion(path, archive.offset)
                counted.allowed = math.inf  # for the content
                yield archive, member
                counted.allowed = _MAX_HEADERS
                archive.members, archive.pax_headers = [], {}  # type: ignore[attr-defined] # which tarfile collects


def check_expansion(path: str | Path, expanded: int) -> None:
    """Raise DataError if a file unpacks to more bytes than any list or archive of images does."""
    size = os.path.getsize(path)
    if expanded > max(_MIN_EXPANDED, _MAX_EXPANSION * size):
        raise DataError(
            f"{path}: {expanded / 1e9:,.1f} GB are packed into {size / 1e6:,.1f} MB, which no images are; unpack it "
            "yourself if you trust it"
        )
