"""Prepared data on disk: made once under a lock, moved into place in one step, never half there.

A store is a folder `<cache>/<name>-<key>/` with `pixels.u8` (n x size x size x 3 bytes), `samples.parquet`,
`local_features.parquet`, `rejected.parquet` and `info.json`. It is written under another name and renamed when it is
complete, so that a process that is killed, or a disk that is full, leaves nothing that a later run would trust. What
changed after that is found when the store is opened: `info.json` holds digests of all the rest, and its own
first.
"""

from __future__ import annotations

import errno
import hashlib
import json
import random
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray

from ..errors import DataError

PIXELS, SAMPLES, REJECTED, INFO = "pixels.u8", "samples.parquet", "rejected.parquet", "info.json"
LOCAL_FEATURES = "local_features.parquet"
_BLOCK_BYTES = 16 << 20
_CHECKED_BLOCKS = 64  # a gigabyte: 0.5 s from memory


class DamagedStoreError(Exception):
    """A file of a store is not what was written; the message says which."""


@dataclass(frozen=True)
class StoreInfo:
    """Facts that the table does not hold: shape, digest, and folders left aside with their counts.

    `tables` has the SHA-256 of each other file, `blocks` the CRC-32 of each 16 MiB of the pixels, `changed` the time of
    change of the pixels in ns.
    """

    count: int
    size: int
    digest: str
    ignored: dict[str, int]
    tables: dict[str, str] = field(default_factory=dict)
    blocks: list[int] = field(default_factory=list)
    changed: int = 0


@dataclass(frozen=True)
class Store:
    """An opened store. `pixels` is a read-only memory map, uint8 (count, size, size, 3)."""

    folder: Path
    pixels: NDArray[np.uint8]
    table: pd.DataFrame
    rejected: pd.DataFrame
    info: StoreInfo


def store_folder(cache: Path, name: str, key: str) -> Path:
    """Return the folder of the store of data set `name` with `key`."""
    return cache / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:40]}-{key}"


def open_store(folder: Path, *, full: bool = False) -> Store | None:
    """Return the store in `folder`; None if there is none. Raises DamagedStoreError.

    Tables are verified whole; pixels too up to a gigabyte, or where the file was changed since it was written. Of more
    a gigabyte is, another one each time, or with `full` each image by its SHA-256.
    """
    try:
        info = _read_info(folder / INFO)
    except (FileNotFoundError, NotADirectoryError):
        return None
    table, rejected, _ = (_verified_table(folder / name, info) for name in (SAMPLES, REJECTED, LOCAL_FEATURES))
    try:
        if (folder / PIXELS).stat().st_size != info.count * info.size**2 * 3:
            raise DamagedStoreError(f"{PIXELS} is not as large as it was written")
        _verify_blocks(folder / PIXELS, info)
    except FileNotFoundError:
        raise DamagedStoreError(f"{PIXELS} is missing") from None
    pixels = np.memmap(folder / PIXELS, dtype=np.uint8, mode="r", shape=(info.count, info.size, info.size, 3))
    if full:
        for row, digest in enumerate(table["pixel_digest"]):
            if pixel_digest(pixels[row]) != digest:
                raise DamagedStoreError(f"image {row} of {PIXELS} is not what was written")
    return Store(folder, pixels, table, rejected, info)


def _read_info(file: Path) -> StoreInfo:
    checksum, _, text = file.read_bytes().partition(b"\n")
    if hashlib.sha256(text).hexdigest().encode() != checksum:
        raise DamagedStoreError(f"{file.name} is not what was written")
    return StoreInfo(**json.loads(text))


def pixel_digest(pixels: NDArray[np.uint8]) -> str:
    """Return a name for the pixels of one image."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()[:16]


def _verified_table(file: Path, info: StoreInfo) -> pd.DataFrame:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise DamagedStoreError(f"{file.name} is missing") from None
    if hashlib.sha256(data).hexdigest() != info.tables.get(file.name):
        raise DamagedStoreError(f"{file.name} is not what was written")
    return pd.read_parquet(BytesIO(data))


def _verify_blocks(file: Path, info: StoreInfo) -> None:
    chosen: Sequence[int] = range(len(info.blocks))
    if len(chosen) > _CHECKED_BLOCKS and file.stat().st_mtime_ns == info.changed:
        chosen = sorted(random.sample(chosen, _CHECKED_BLOCKS))
    with file.open("rb") as stream:
        for block in chosen:
            stream.seek(block * _BLOCK_BYTES)
            if zlib.crc32(stream.read(_BLOCK_BYTES)) != info.blocks[block]:
                raise DamagedStoreError(f"block {block} of {PIXELS} is not what was written")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time makes the store in `folder`; the others wait. Raises DataError."""
    with disk_errors(folder.parent):
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
    with disk_errors(folder.parent):
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


def write_tables(
    folder: Path, table: pd.DataFrame, rejected: pd.DataFrame, features: pd.DataFrame, info: StoreInfo
) -> None:
    """Write everything of a store but its pixels, which must be there, and the digests of all of it."""
    digests = {}
    for name, frame in {SAMPLES: table, REJECTED: rejected, LOCAL_FEATURES: features}.items():
        frame.to_parquet(folder / name, index=False)
        with (folder / name).open("rb") as stream:
            digests[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    with (folder / PIXELS).open("rb") as stream:
        blocks = [zlib.crc32(block) for block in iter(lambda: stream.read(_BLOCK_BYTES), b"")]
    changed = (folder / PIXELS).stat().st_mtime_ns
    text = json.dumps(asdict(replace(info, tables=digests, blocks=blocks, changed=changed)))
    (folder / INFO).write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")


@contextmanager
def disk_errors(where: Path, key: str = "dataset.cache") -> Iterator[None]:
    """Turn a full or forbidden disk into a DataError of one line; `key` is what moves the folder elsewhere."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(f"the disk of {where} is full; free some space or set {key}") from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT):
            raise DataError(f"{where} cannot be used ({error.strerror}); set {key} to another folder") from None
        raise
