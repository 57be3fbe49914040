"""Prepared data on disk: made once under a lock, moved into place in one step, never half there.

A store is a folder `<cache>/<name>-<key>/` with `pixels.u8` (n x size x size x 3 bytes), `samples.parquet`,
`local_features.parquet`, `rejected.parquet` and `info.json`. It is written under another name and renamed when it is
complete, so that a process that is killed, or a disk that is full, leaves nothing that a later run would trust.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray

from ..errors import DataError

PIXELS, SAMPLES, REJECTED, INFO = "pixels.u8", "samples.parquet", "rejected.parquet", "info.json"
LOCAL_FEATURES = "local_features.parquet"


@dataclass(frozen=True)
class StoreInfo:
    """What cannot be read off the table: shape, digest, and folders left aside with their counts."""

    count: int
    size: int
    digest: str
    ignored: dict[str, int]


@dataclass(frozen=True)
class Store:
    """An opened store. `pixels` is a read-only memory map, uint8 (count, size, size, 3)."""

    folder: Path
    pixels: NDArray[np.uint8]
    table: pd.DataFrame
    rejected: pd.DataFrame
    info: StoreInfo


def store_folder(cache: Path, name: str, key: str) -> Path:
    """The folder of the store of data set `name` with `key`."""
    return cache / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:40]}-{key}"


def open_store(folder: Path) -> Store | None:
    """The store in `folder`; None if there is none that is whole."""
    try:
        info = StoreInfo(**json.loads((folder / INFO).read_text()))
        pixels = folder / PIXELS
        if pixels.stat().st_size != info.count * info.size**2 * 3:
            return None
        table, rejected = pd.read_parquet(folder / SAMPLES), pd.read_parquet(folder / REJECTED)
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        return None
    shape = (info.count, info.size, info.size, 3)
    return Store(folder, np.memmap(pixels, dtype=np.uint8, mode="r", shape=shape), table, rejected, info)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time makes the store in `folder`; the others wait. Raises DataError."""
    with readable_disk_errors(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f"{folder.name}.lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """A folder to write the store into, which becomes `folder` when the block ends well and vanishes when it does not.

    Call it under `locked(folder)`: what a killed process left is cleared away first. Raises DataError if the disk is
    full or may not be written.
    """
    partial = folder.parent / f".{folder.name}.partial"
    with readable_disk_errors(folder.parent):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            if folder.exists():
                shutil.rmtree(folder)
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def write_tables(folder: Path, table: pd.DataFrame, rejected: pd.DataFrame, info: StoreInfo) -> None:
    """Write everything of a store but its pixels."""
    table.to_parquet(folder / SAMPLES, index=False)
    rejected.to_parquet(folder / REJECTED, index=False)
    (folder / INFO).write_text(json.dumps(asdict(info)))


@contextmanager
def readable_disk_errors(where: Path) -> Iterator[None]:
    """Turn a full or forbidden disk into a DataError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(f"the disk of {where} is full; free some space or set dataset.cache") from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT):
            raise DataError(f"{where} cannot be used ({error.strerror}); set dataset.cache to another folder") from None
        raise
