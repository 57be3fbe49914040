"""Locators of one image's bytes: in a file of its own, in an archive, in memory or in a line of a table."""

from __future__ import annotations

import functools
import itertools
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import IO, ClassVar

import numpy as np
from PIL import Image

from .images import decode_image, prepare_image
from .samples import DecodedImage, FitMode, Limits, RejectedImageError, Sample

READ_ERRORS = (
    *(OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, tarfile.TarError),
    *(zlib.error, lzma.LZMAError, struct.error, UnicodeDecodeError),
)
"""Errors of reading a missing, locked, encrypted or corrupt file or archive member."""


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
    with tarfile.open(archive, "r|*") as tar:
        for position, member in enumerate(tar):
            if position != index:
                continue
            content: IO[bytes] | None = tar.extractfile(member) if member.isreg() else None
            yield content.read(limit) if content else b""
            index = next(wanted, None)
            if index is None:
                return
