"""Images to predict: files, folders and standard input, in a fixed order, or what a program hands over."""

from __future__ import annotations

import base64
import binascii
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.images import DEFAULT_LIMITS, Limits
from ..data.locators import FileLocator
from ..data.samples import RejectedImageError
from ..errors import DataError

STDIN = "-"
PIXEL_DIMENSIONS = 3


@dataclass(frozen=True, slots=True)
class ImageFile:
    """Something to predict: `path` as it is shown; the bytes are read when its turn comes, but for standard input."""

    path: str
    data: bytes | None = None

    def read(self, limits: Limits = DEFAULT_LIMITS) -> bytes:
        """The file's bytes, one more than the limit at most. Raises RejectedImageError."""
        if self.data is not None:
            return self.data
        try:
            return FileLocator(self.path, 0, 0).read(limits.bytes + 1)
        except OSError as error:
            raise RejectedImageError("unreadable", error.strerror or str(error)) from None


def list_images(paths: Sequence[str], *, recursive: bool) -> list[ImageFile]:
    """The images that `paths` name, in their order; of a folder every file that is not hidden, sorted by path.

    Folders inside a folder are entered only with `recursive`, links to folders never. Raises DataError for a path that
    is not there.
    """
    found: list[ImageFile] = []
    for path in paths:
        if path == STDIN:
            found.append(ImageFile(STDIN, sys.stdin.buffer.read(DEFAULT_LIMITS.bytes + 1)))
        elif os.path.isdir(path):
            found += [ImageFile(file) for file in sorted(_files(path, recursive))]
        elif os.path.exists(path) and not os.path.isfile(path):
            raise DataError(f"{path}: neither a file nor a folder")
        elif os.path.exists(path):
            found.append(ImageFile(path))
        else:
            raise DataError(f"{path}: no such file or folder")
    if not found:
        raise DataError(f"{', '.join(paths)}: no images found; --recursive looks into folders inside folders too")
    return found


def _files(folder: str, recursive: bool) -> Iterator[str]:
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except OSError as error:
            raise DataError(f"{place}: {error.strerror or error}") from None
        for entry in entries:
            if not entry.name.startswith("."):
                if _is_file(entry):
                    yield os.fspath(Path(entry.path))
                elif recursive and entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # such as a link to itself, which gets a verdict of its own
        return True


def single_inputs(value: Any) -> Iterable[Any]:
    """The images in one value: MLflow hands over a JSON list of texts, or pixels of four dimensions, as one."""
    first, depth = value, 0
    while isinstance(first, list | np.ndarray) and len(first) and depth < PIXEL_DIMENSIONS:
        first, depth = first[0], depth + 1
    many = isinstance(first, list | np.ndarray) or (depth == 1 and isinstance(first, str | bytes))
    return value if depth and many else [value]


def decode_base64(text: str) -> bytes:
    """The bytes that a text of base64, white space apart, stands for. Raises RejectedImageError."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RejectedImageError("unreadable", "text that is no base64") from None


def as_pixels(value: Any) -> NDArray[np.uint8]:
    """An array or nested list of numbers from 0 to 255, (height, width, 3) RGB or (height, width) gray, as uint8.

    Raises RejectedImageError for anything else. Fractions that end at 1 are rejected, not taken for a black image:
    the model wants 0 to 255.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise RejectedImageError("unreadable", "rows of different lengths") from None
    if array.dtype.kind not in "uif" or array.size == 0 or not (array.ndim == 2 or array.shape[2:] == (3,)):
        found = f"{array.dtype} {array.shape}"
        raise RejectedImageError("unreadable", f"{found}: numbers (height, width, 3) or (height, width) are wanted")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise RejectedImageError("unreadable", "pixels outside 0 to 255")
    if array.max() <= 1 and (array % 1).any():
        raise RejectedImageError("unreadable", "pixels from 0 to 1: multiply them by 255")
    return np.rint(array).astype(np.uint8)
