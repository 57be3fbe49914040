"""Lists of images: a CSV or Parquet manifest, or the `metadata.csv` of a Hugging Face image folder."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...config import ManifestConfig, SourceConfig
from ...errors import DataError
from ...system import printable
from ..locators import FileLocator
from ..samples import Rejection, Sample, Split
from .download import source_path
from .folders import Listing, RejectedEntry, class_key, class_labels, register_source, split_of

MAX_ROWS = 20_000_000
MAX_ROW_BYTES = 1_000_000
_ACCEPTED = f"accepts {MAX_ROWS:,} rows of at most a megabyte each"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".JPG", ".PNG")
_METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


@register_source("manifest")
def list_manifest(config: SourceConfig) -> Listing:
    """Return samples of the manifest at `path`; its paths count from `manifest.root` beside it. Raises DataError."""
    path = source_path(config)
    return _listed(_read(path), path, path.parent / config.manifest.root, config, config.manifest)


@register_source("metadata")
def list_metadata(config: SourceConfig) -> Listing:
    """Return samples of a folder with a metadata file, or of split folders with one each. Raises DataError."""
    root = source_path(config)
    columns = replace(config.manifest, path="file_name")
    listing = Listing([])
    for folder in [root, *sorted(entry for entry in root.iterdir() if entry.is_dir())] if root.is_dir() else []:
        for path in (folder / name for name in _METADATA_NAMES if os.path.isfile(folder / name)):
            split = split_of(folder.name) if folder != root else None
            prefix = f"{folder.name}/" if folder != root else ""
            found = _listed(_read(path), path, folder, config, columns, split, prefix)
            ignored = Counter(listing.ignored) + Counter(found.ignored)
            listing = Listing(listing.samples + found.samples, listing.rejections + found.rejections, dict(ignored))
    if not (listing.samples or listing.rejections or listing.ignored):
        raise DataError(f"{root}: no {' or '.join(_METADATA_NAMES)} in it or in a folder in it")
    return listing


def _read(path: Path) -> pd.DataFrame:
    """Return the manifest with every value as text. Raises DataError past `MAX_ROWS` or `MAX_ROW_BYTES`."""
    try:
        if path.suffix == ".parquet":
            described = pq.ParquetFile(path).metadata
            groups = (described.row_group(index) for index in range(described.num_row_groups))
            size = sum(group.total_byte_size for group in groups)
            if described.num_rows > MAX_ROWS or size > MAX_ROW_BYTES * max(1, described.num_rows):
                raise DataError(f"{path}: {described.num_rows:,} rows of {size / 1e6:,.0f} MB; {_ACCEPTED}")
            return pq.read_table(path).to_pandas(ignore_metadata=True)  # what pandas adds to a file may be wrong
        with path.open("rb") as file:
            check_rows(path, file)
        if path.suffix == ".jsonl":
            return pd.read_json(path, lines=True, dtype=False, convert_dates=False)
        return pd.read_csv(path, dtype="str", keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as a table: {' '.join(str(error).split())[:200]}") from None


def check_rows(path: Path, file: IO[bytes]) -> None:
    """Raise DataError for a line, or a number of them, that no list of images has; in bounded memory."""
    for number, line in enumerate(iter(lambda: file.readline(MAX_ROW_BYTES + 1), b""), 1):
        if len(line) > MAX_ROW_BYTES or number > MAX_ROWS:
            what = "holds more than a megabyte" if len(line) > MAX_ROW_BYTES else "is not the last one"
            raise DataError(f"{path}: line {number:,} {what}; {_ACCEPTED}")


def _listed(
    table: pd.DataFrame,
    path: Path,
    root: Path,
    config: SourceConfig,
    columns: ManifestConfig,
    split: Split | None = None,
    prefix: str = "",
) -> Listing:
    for name in (columns.path, columns.label):
        if len(table.columns) == 1 and ";" in str(table.columns[0]):
            raise DataError(f"{path}: its columns are separated by semicolons; save it with commas")
        if name not in table:
            raise DataError(f"{path}: no column {name!r}; there is {printable(', '.join(map(str, table.columns)))}")
    if table.empty:
        raise DataError(f"{path}: has a header and no images below it")
    labels, inside = class_labels(config), os.path.realpath(root)
    samples: list[Sample] = []
    rejections: list[Rejection] = []
    ignored: Counter[str] = Counter()
    known = [name for name in (columns.split, columns.group, columns.weight, columns.target) if name in table]
    for row in table[[columns.path, columns.label, *known]].to_dict("records"):
        name, label = _text(row[columns.path]), labels.get(class_key(_text(row[columns.label])))
        if label is None:
            ignored[_text(row[columns.label]) or "no label"] += 1
            continue
        located = _located(_existing(root, name), inside)
        if isinstance(located, RejectedEntry):
            rejections.append(Rejection(prefix + name, label, "unreadable", located.reason))
            continue
        shipped = split or _split_name(_text(row.get(columns.split)), path, columns.split)
        subject, weight = _text(row.get(columns.group)) or None, _weight(_text(row.get(columns.weight)), path)
        target = _target(_text(row.get(columns.target)), path)
        samples.append(Sample(prefix + name, label, located, shipped, subject, weight, target=target))
    if rejections and not samples:
        first = rejections[0]
        raise DataError(
            f"{path}: none of its {len(rejections):,} files can be used, such as {first.path!r}: {first.detail}; paths "
            f"count from {root} (dataset.manifest.root)"
        )
    return Listing(samples, rejections, dict(ignored))


def _existing(root: Path, name: str) -> str:
    """Return the path of a listed file; of a list that was made on Windows or names no suffixes, the file it means."""
    path = os.path.join(root, name)
    if not os.path.exists(path) and "\\" in name:
        path = os.path.join(root, name.replace("\\", "/"))
    if not os.path.exists(path):
        path = next((path + suffix for suffix in _SUFFIXES if os.path.exists(path + suffix)), path)
    return path


def _located(path: str, inside: str) -> FileLocator | RejectedEntry:
    try:
        if os.path.commonpath([os.path.realpath(path), inside]) != inside:
            return RejectedEntry("a path that leaves the manifest's folder")
        status = os.stat(path)
    except (OSError, ValueError) as error:
        return RejectedEntry(getattr(error, "strerror", None) or str(error))
    return FileLocator(path, status.st_size, status.st_mtime_ns)


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value).strip()


def _split_name(name: str, path: Path, column: str) -> Split | None:
    split = split_of(name)
    if name and split is None:
        raise DataError(f"{path}: column {column!r} has {name!r}; accepts train, validation and test")
    return split


def _weight(text: str, path: Path) -> float:
    try:
        weight = float(text or 1)
    except ValueError:
        weight = -1.0
    if not 0 < weight < float("inf"):
        raise DataError(f"{path}: {text!r} is no weight; a number above 0 is needed")
    return weight


def _target(text: str, path: Path) -> float | None:
    try:
        target = float(text) if text else None
    except ValueError:
        target = -1.0
    if target is not None and not 0 <= target <= 1:
        raise DataError(f"{path}: {text!r} is no target; a number from 0 to 1 is needed")
    return target
