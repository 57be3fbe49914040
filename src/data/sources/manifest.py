"""Lists of images: a CSV or Parquet manifest, or the `metadata.csv` of a Hugging Face image folder."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from ...config import ManifestConfig, SourceConfig
from ...errors import DataError
from ...system import printable
from ..locators import FileLocator
from ..samples import Rejection, Sample, Split
from ..tables import read_rows
from .download import source_path
from .folders import Listing, RejectedEntry, class_key, class_labels, register_source, split_of

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
    listing = Listing([])
    for folder in [root, *sorted(entry for entry in root.iterdir() if entry.is_dir())] if root.is_dir() else []:
        for path in (folder / name for name in _METADATA_NAMES if os.path.isfile(folder / name)):
            split = split_of(folder.name) if folder != root else None
            prefix = f"{folder.name}/" if folder != root else ""
            found = _listed(path, folder, config, columns, split, prefix)
            ignored = Counter(listing.ignored) + Counter(found.ignored)
            listing = Listing(listing.samples + found.samples, listing.rejections + found.rejections, dict(ignored))
    if not (listing.samples or listing.rejections or listing.ignored):
        raise DataError(f"{root}: no {' or '.join(_METADATA_NAMES)} in it or in a folder in it")
    return listing


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
        if len(names) == 1 and ";" in names[0]:
            raise DataError(f"{path}: its columns are separated by semicolons; save it with commas")
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
        listing.samples.append(
            Sample(
                prefix + name,
                number,
                located,
                split or _split_name(shipped, path, columns.split),
                subject or None,
                _weight(weight, path),
                target=_target(target, path),
            )
        )
    if not (listing.samples or listing.rejections or ignored):
        raise DataError(f"{path}: has a header and no images below it")
    if listing.rejections and not listing.samples:
        count, first = len(listing.rejections), listing.rejections[0]
        raise DataError(
            f"{path}: none of its {count:,} files can be used, such as {first.path!r}: {first.detail}; paths count "
            f"from {root} (dataset.manifest.root)"
        )
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
