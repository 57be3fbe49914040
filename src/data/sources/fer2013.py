"""FER-2013: class folders (also zipped, with ready parts), or the `fer2013.csv` of the Kaggle challenge."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from src.config import SourceConfig
from src.data.locators import PixelTextLocator
from src.data.samples import Sample
from src.data.sources.download import source_path
from src.data.sources.folders import entries_of
from src.data.sources.listing import PART_NAMES, Listing, by_class_folders, class_labels
from src.errors import DataError

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Index = the number in the `emotion` column."""


def list_fer2013(config: SourceConfig) -> Listing:
    """Samples of FER-2013 in either form; with `Usage` or part folders each keeps its part. Raises DataError."""
    path = source_path(config)
    if path.name.casefold().endswith(".csv"):
        return _list_csv(path, config)
    return by_class_folders(entries_of(path), config)


def _list_csv(path: Path, config: SourceConfig) -> Listing:
    """One sample for each line; the pixels stay in the file and are read when their turn comes."""
    status = path.stat()
    labels, ignored, samples, offset = class_labels(config), Counter[str](), [], 0
    with path.open("rb") as file:
        header = next(file, b"")
        columns = [name.strip().strip('"').casefold() for name in header.decode("utf-8-sig", "replace").split(",")]
        if not {"emotion", "pixels"} <= set(columns):
            raise DataError(f"{path}: the first line must name the columns emotion, pixels and (or not) Usage")
        offset = len(header)
        for number, line in enumerate(file):
            cells = line.rstrip(b"\r\n").split(b",")
            start, offset = offset, offset + len(line)
            emotion = _emotion(cells, columns)
            if emotion.casefold() not in labels:
                ignored[emotion] += 1
                continue
            place = columns.index("pixels")
            pixels = cells[place]
            begin = start + sum(len(cell) + 1 for cell in cells[:place]) + pixels.startswith(b'"')
            size = len(pixels.strip(b'"'))
            locator = PixelTextLocator(str(path), begin, size, f"{status.st_size}@{status.st_mtime_ns}#{number}")
            usage = _cell(cells, columns, "usage").casefold()
            samples.append(Sample(f"{number:05d}", labels[emotion.casefold()], locator, PART_NAMES.get(usage)))
    return Listing(samples, ignored=dict(ignored))


def _emotion(cells: list[bytes], columns: list[str]) -> str:
    number = _cell(cells, columns, "emotion")
    known = number.isdecimal() and int(number) < len(EMOTIONS) and len(cells) >= len(columns)
    return EMOTIONS[int(number)] if known else "no emotion"


def _cell(cells: list[bytes], columns: list[str], name: str) -> str:
    place = columns.index(name) if name in columns else len(cells)
    return cells[place].decode("ascii", "replace").strip(' "') if place < len(cells) else ""
