"""Published sets in the layouts in which their authors hand them out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from ...config import SourceConfig
from ...errors import DataError
from ..locators import PixelTextLocator
from ..samples import Sample, Split
from ..tables import BoundedLines
from .download import source_path
from .folders import (
    Listing,
    RejectedEntry,
    by_class_folders,
    class_key,
    class_labels,
    entries_of,
    register_source,
    split_of,
)

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Index = the number in the `emotion` column."""


@register_source("fer2013", changes_with="file")
def list_fer2013(config: SourceConfig) -> Listing:
    """Return samples of FER-2013 in either form; each keeps its shipped split. Raises DataError."""
    path = source_path(config)
    if path.name.casefold().endswith(".csv"):
        return _list_csv(path, config)
    return by_class_folders(entries_of(path), config)


def _list_csv(path: Path, config: SourceConfig) -> Listing:
    """Return one sample for each line; the pixels stay in the file and are read when their turn comes."""
    status = path.stat()
    labels, ignored, samples, offset = class_labels(config), Counter[str](), [], 0
    with path.open("rb") as file:
        lines = BoundedLines(path, file)
        header = next(lines, b"")
        columns = [name.strip().strip('"').casefold() for name in header.decode("utf-8-sig", "replace").split(",")]
        if not {"emotion", "pixels"} <= set(columns):
            raise DataError(f"{path}: the first line must name the columns emotion, pixels and (or not) Usage")
        offset = len(header)
        for number, line in enumerate(lines):
            lines.row_bytes = 0
            cells = line.rstrip(b"\r\n").split(b",")
            start, offset = offset, offset + len(line)
            emotion = _emotion(cells, columns)
            if class_key(emotion) not in labels:
                ignored[emotion] += 1
                continue
            place = columns.index("pixels")
            pixels = cells[place]
            begin = start + sum(len(cell) + 1 for cell in cells[:place]) + pixels.startswith(b'"')
            size = len(pixels.strip(b'"'))
            locator = PixelTextLocator(str(path), begin, size, f"{status.st_size}@{status.st_mtime_ns}#{number}")
            usage = _cell(cells, columns, "usage")
            samples.append(Sample(f"{number:05d}", labels[class_key(emotion)], locator, split_of(usage)))
    return Listing(samples, ignored=dict(ignored))


def _emotion(cells: list[bytes], columns: list[str]) -> str:
    number = _cell(cells, columns, "emotion")
    known = number.isdecimal() and int(number) < len(EMOTIONS) and len(cells) >= len(columns)
    return EMOTIONS[int(number)] if known else "no emotion"


def _cell(cells: list[bytes], columns: list[str], name: str) -> str:
    place = columns.index(name) if name in columns else len(cells)
    return cells[place].decode("ascii", "replace").strip(' "') if place < len(cells) else ""


RAFDB_LIST = Path("EmoLabel") / "list_patition_label.txt"  # sic
RAFDB_IMAGES = ("Image/aligned", "Image/original")
AFFECTNET_SPLITS: dict[str, Split] = {"train_set": "train", "val_set": "validation"}


@register_source("rafdb")
def list_rafdb(config: SourceConfig) -> Listing:
    """List RAF-DB's basic part: its list of labels beside the images, or class folders 1 to 7 below splits.

    The classes are named by the set's numbers: 4 is happiness, 5 sadness. Raises DataError.
    """
    root = source_path(config)
    if not (root / RAFDB_LIST).is_file():
        return by_class_folders(entries_of(root), config)
    folder = next((name for name in RAFDB_IMAGES if (root / name).is_dir()), None)
    if folder is None:
        raise DataError(f"{root}: none of {', '.join(RAFDB_IMAGES)} is there beside {RAFDB_LIST}")
    located = {path.rpartition("/")[2]: entry for path, entry in entries_of(root / folder)}
    suffix = "_aligned" if folder.endswith("aligned") else ""
    labels, ignored, samples = class_labels(config), Counter[str](), []
    for line in (root / RAFDB_LIST).read_text().splitlines():
        name, _, number = line.strip().partition(" ")
        stem, dot, ending = name.rpartition(".")
        locator = located.get(f"{stem}{suffix}{dot}{ending}")
        if number not in labels or locator is None or isinstance(locator, RejectedEntry):
            ignored[number if number not in labels else "listed, but not there"] += 1
            continue
        split: Split = "test" if name.startswith("test") else "train"
        samples.append(Sample(f"{folder}/{stem}{suffix}{dot}{ending}", labels[number], locator, split))
    return Listing(samples, ignored=dict(ignored))


@register_source("affectnet")
def list_affectnet(config: SourceConfig) -> Listing:
    """List AffectNet: `train_set` and `val_set` with `images` and `annotations/<id>_exp.npy`, or split folders.

    The classes are named by the set's numbers: 1 is happiness, 2 sadness. Raises DataError.
    """
    root = source_path(config)
    if not (root / "train_set" / "annotations").is_dir():
        return by_class_folders(entries_of(root), config)
    labels, ignored, samples = class_labels(config), Counter[str](), []
    for folder, split in AFFECTNET_SPLITS.items():
        for path, locator in entries_of(root / folder / "images") if (root / folder).is_dir() else []:
            number = _expression(root / folder / "annotations", path)
            if number not in labels or isinstance(locator, RejectedEntry):
                ignored[number] += 1
                continue
            samples.append(Sample(f"{folder}/images/{path}", labels[number], locator, split))
    return Listing(samples, ignored=dict(ignored))


def _expression(annotations: Path, path: str) -> str:
    """Return the number of the expression in an image's annotation file."""
    file = annotations / f"{Path(path).stem}_exp.npy"
    try:
        return str(np.load(file, allow_pickle=False).item())
    except (OSError, ValueError, EOFError):
        return "no annotation"
