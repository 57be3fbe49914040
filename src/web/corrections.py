"""Corrections of answers, kept as a data set that can be trained on: the pictures and a manifest `path,label`."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from ..data.images import DEFAULT_LIMITS, Limits, decode_picture
from ..errors import DataError

MANIFEST, PICTURES = "manifest.csv", "pictures"


@dataclass(frozen=True)
class Corrections:
    """A folder that `python -m src.train dataset=manifest dataset.path=FOLDER/manifest.csv` trains on.

    A picture is named by its bytes, so that a file's own name is never trusted and a second correction of the same
    picture takes the place of the first. Several processes may share the folder.
    """

    folder: Path
    class_names: Sequence[str]
    limits: Limits = DEFAULT_LIMITS

    @property
    def manifest(self) -> Path:
        """The CSV list, which is there from the first correction on."""
        return self.folder / MANIFEST

    def save(self, data: bytes, label: str) -> int:
        """Keep the picture in the file's bytes `data` under its true `label`; how many pictures there are now.

        Raises RejectedPictureError for bytes that are no sound picture, and DataError for a label that is no class or
        a folder that cannot be written.
        """
        if label not in self.class_names:
            raise DataError(f"{label}: no class; accepts {', '.join(self.class_names)}")
        picture_format = decode_picture(data, self.limits.min_side, self.limits).format
        path = f"{PICTURES}/{hashlib.sha256(data).hexdigest()[:32]}.{picture_format.lower()}"
        try:
            (self.folder / PICTURES).mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f".{MANIFEST}.lock"):
                _write(self.folder / path, data)
                labels = self.labels() | {path: label}
                rows = [("path", "label"), *labels.items()]
                _write(self.manifest, "".join(f"{path},{label}\n" for path, label in rows).encode())
        except OSError as error:
            raise DataError(f"{self.folder}: corrections cannot be kept there: {error.strerror or error}") from None
        return len(labels)

    def labels(self) -> dict[str, str]:
        """Path below the folder -> label, in the order in which the pictures were first corrected."""
        if not self.manifest.is_file():
            return {}
        with self.manifest.open(newline="", encoding="utf-8") as file:
            return {row["path"]: row["label"] for row in csv.DictReader(file)}


def _write(file: Path, data: bytes) -> None:
    """Whole or not at all, also where the process is killed midway."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, file)
