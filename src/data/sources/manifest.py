"""Lists of images: a CSV or Parquet manifest, or the `metadata.csv` of a Hugging Face image folder."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...config import ManifestConfig, SourceConfig
from ...errors import DataError
from ...system import printable
from ..locators import FileLocator
from ..samples import Rejection, Sample, Split
from ..tables import read_rows
from .download import source_path
from .folders import Listing, RejectedEntry, class_key, class_labels, combined, register_source, split_of

_COLUMNS = ("path", "label", "split", "group", "weight", "target")  # of `ManifestConfig`, which says their names
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".JPG", ".PNG")
_METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


@register_source("manifest")
def list_manifest(config: SourceConfig) -> Listing:
    """Return samples of the manifest at `path`; its paths count from `manifest.root` beside it. Raises DataError."""
    path = source_path(config)
    return _listed(path, path.parent / config.manifest.root, config, config.manifest)


@register_source("metadata")
def list_metadata(config: SourceConfig) -> Listing:
    """Return samples of a folder with a metadata file, or of split folders with one each. Raises DataError."""
    root = source_path(config)
    columns = replace(config.manifest, path="file_name")
    found: list[Listing] = []
    for folder in [root, *sorted(entry for entry in root.iterdir() if entry.is_dir())] if root.is_dir() else []:
        for path in (folder / name for name in _METADATA_NAMES if os.path.isfile(folder / name)):
            split = split_of(folder.name) if folder != root else None
            prefix = f"{folder.name}/" if folder != root else ""
            found.append(_listed(path, folder, config, columns, split, prefix))
    if not found:
        raise DataError(f"{root}: no {' or '.join(_METADATA_NAMES)} in it or in a folder in it")
    return combined(found)


def _listed(
    path: Path,
    root: Path,
    config: SourceConfig,
    columns: ManifestConfig,
    split: Split | None = None,
    prefix: str = "",
) -> Listing:
    names, rows = read_rows(path, [getattr(columns, column) for column in _COLUMNS])
    for name in (columns.path, columns.label):
        if name not in names:
            raise DataError(f"{path}: no column {name!r}; there is {printable(', '.join(names))[:500]}")
    labels, inside = class_labels(config), os.path.realpath(root)
    listing = Listing([])
    ignored: Counter[str] = Counter()
    for row in rows:
        name, label, shipped, subject, weight, target = (_text(row.get(getattr(columns, key))) for key in _COLUMNS)
        if class_key(label) not in labels:
            ignored[label or "no label"] += 1
            continue
        number, located = labels[class_key(label)], _located(_existing(root, name), inside)
        if isinstance(located, RejectedEntry):
            listing.rejections.append(Rejection(prefix + name, number, "unreadable", located.reason))
            continue
        sample_split = split or _split_name(shipped, path, columns.split)
        factor = _number(weight, path, "weight", lambda number: 0 < number < math.inf, "above 0")
        share = _number(target, path, "target", lambda number: 0 <= number <= 1, "from 0 to 1")
        sample = Sample(prefix + name, number, located, sample_split, subject or None, factor or 1.0, target=share)
        listing.samples.append(sample)
    if not (listing.samples or listing.rejections or ignored):
        raise DataError(f"{path}: has a header and no images below it")
    return replace(listing, ignored=dict(ignored))


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
        reason = getattr(error, "strerror", None) or str(error)
        return RejectedEntry(f"{reason}; paths count from {inside} (dataset.manifest.root)")
    return FileLocator(path, status.st_size, status.st_mtime_ns)


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value).strip()


def _split_name(name: str, path: Path, column: str) -> Split | None:
    split = split_of(name)
    if name and split is None:
        raise DataError(f"{path}: column {column!r} has {name!r}; accepts train, validation and test")
    return split


def _number(text: str, path: Path, kind: str, accepts: Callable[[float], bool], accepted: str) -> float | None:
    """Return the number in a cell, None where it is empty."""
    try:
        number = float(text) if text else None
    except ValueError:
        number = math.nan
    if number is not None and not accepts(number):
        raise DataError(f"{path}: {text!r} is no {kind}; a number {accepted} is needed")
    return number
