"""Published sets in the layouts in which their authors hand them out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from src.config import SourceConfig
from src.data.samples import Part, Sample
from src.data.sources.download import source_path
from src.data.sources.folders import entries_of
from src.data.sources.listing import Listing, Refused, by_class_folders, class_labels
from src.errors import DataError

RAFDB_LIST = Path("EmoLabel") / "list_patition_label.txt"  # sic
RAFDB_IMAGES = ("Image/aligned", "Image/original")
AFFECTNET_PARTS: dict[str, Part] = {"train_set": "train", "val_set": "validation"}


def list_rafdb(config: SourceConfig) -> Listing:
    """RAF-DB's basic part: its list of labels beside the pictures, or class folders 1 to 7 below parts.

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
        if number not in labels or locator is None or isinstance(locator, Refused):
            ignored[number if number not in labels else "listed, but not there"] += 1
            continue
        part: Part = "test" if name.startswith("test") else "train"
        samples.append(Sample(f"{folder}/{stem}{suffix}{dot}{ending}", labels[number], locator, part))
    return Listing(samples, ignored=dict(ignored))


def list_affectnet(config: SourceConfig) -> Listing:
    """AffectNet: `train_set` and `val_set` with `images` and `annotations/<id>_exp.npy`, or class folders below parts.

    The classes are named by the set's numbers: 1 is happiness, 2 sadness. Raises DataError.
    """
    root = source_path(config)
    if not (root / "train_set" / "annotations").is_dir():
        return by_class_folders(entries_of(root), config)
    labels, ignored, samples = class_labels(config), Counter[str](), []
    for folder, part in AFFECTNET_PARTS.items():
        for path, locator in entries_of(root / folder / "images") if (root / folder).is_dir() else []:
            number = _expression(root / folder / "annotations", path)
            if number not in labels or isinstance(locator, Refused):
                ignored[number] += 1
                continue
            samples.append(Sample(f"{folder}/images/{path}", labels[number], locator, part))
    return Listing(samples, ignored=dict(ignored))


def _expression(annotations: Path, path: str) -> str:
    """The number of the expression in a picture's annotation file."""
    file = annotations / f"{Path(path).stem}_exp.npy"
    try:
        return str(np.load(file, allow_pickle=False).item())
    except (OSError, ValueError, EOFError):
        return "no annotation"
