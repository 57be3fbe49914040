"""Corrections of answers, kept as a data set that can be trained on: the images and a manifest `path,label`."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from ..data.images import DEFAULT_LIMITS, decode_image
from ..data.samples import Limits
from ..errors import DataError
from ..system import append_entry, read_entries

_LOG = logging.getLogger("uvicorn.error")
MANIFEST, HISTORY, IMAGES = "manifest.csv", "history.jsonl", "images"


@dataclass(frozen=True)
class Correction:
    """A correction that was kept: the image's `label`, the `count` of all, and its `earlier` label, if any."""

    label: str
    count: int
    earlier: str = ""


@dataclass(frozen=True)
class Corrections:
    """A folder that `python -m src.train dataset=manifest dataset.path=FOLDER/manifest.csv` trains on.

    An image is named by its bytes, so that a file's own name is never trusted. `history.jsonl` keeps every correction
    with its time and who made it. Whoever made one may change it; where two people differ, the first stands.
    Several processes may share the folder, which holds at most `max_images` and `max_bytes` of them.
    """

    folder: Path
    class_names: Sequence[str]
    limits: Limits = DEFAULT_LIMITS
    max_images: int = 10_000
    max_bytes: int = 2_000_000_000

    @property
    def manifest(self) -> Path:
        """The CSV list, which is there from the first correction on."""
        return self.folder / MANIFEST

    def save(self, data: bytes, label: str, by: str = "") -> Correction:
        """Keep the image in the file's bytes `data` under its true `label`, as said by the browser session `by`.

        Raises RejectedImageError for bytes that are no sound image, and DataError for a label that is no class,
        a folder that cannot be written, or one that is full.
        """
        if label not in self.class_names:
            raise DataError(f"{label}: no class; accepts {', '.join(self.class_names)}")
        image_format = decode_image(data, self.limits.min_side, self.limits).format
        path = f"{IMAGES}/{hashlib.sha256(data).hexdigest()[:32]}.{image_format.lower()}"
        try:
            (self.folder / IMAGES).mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f".{MANIFEST}.lock"):
                return self._keep(path, data, label, by)
        except OSError as error:
            _LOG.error("%s: corrections cannot be kept there: %s", self.folder, error)
            raise DataError(f"corrections cannot be kept: {error.strerror or 'see the log of the service'}") from None

    def labels(self) -> dict[str, str]:
        """Path below the folder -> label, in the order in which the images were first corrected."""
        if not self.manifest.is_file():
            return {}
        with self.manifest.open(newline="", encoding="utf-8") as file:
            return {row["path"]: row["label"] for row in csv.DictReader(file)}

    def _keep(self, path: str, data: bytes, label: str, by: str) -> Correction:
        labels, history = self.labels(), read_entries(self.folder / HISTORY)
        said = [entry for entry in history if entry["path"] == path]
        self._check_room(path, data, labels, len(history))
        if path not in labels:
            _write(self.folder / path, data)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        append_entry(self.folder / HISTORY, {"time": now, "path": path, "label": label, "by": by})
        earlier = ""
        if path in labels and label != labels[path]:
            when = next((f" on {entry['time']}" for entry in reversed(said) if entry["label"] == labels[path]), "")
            own = bool(said) and said[0]["by"] == by
            earlier = f"it was kept as {labels[path]}{when}" + ("" if own else " by someone else, which stands")
            label = label if own else labels[path]
        labels[path] = label
        rows = [("path", "label"), *labels.items()]
        _write(self.manifest, "".join(f"{path},{label}\n" for path, label in rows).encode())
        return Correction(label, len(labels), earlier)

    def _check_room(self, path: str, data: bytes, labels: dict[str, str], said: int) -> None:
        """Raise DataError where there is no room for one more image, or for one more line of history."""
        kept = sum(file.stat().st_size for file in (self.folder / IMAGES).iterdir())
        full = path not in labels and (len(labels) >= self.max_images or kept + len(data) > self.max_bytes)
        if full or said >= 10 * self.max_images:
            raise DataError("no more corrections are taken: their folder is full; train on them and empty it")


def _write(file: Path, data: bytes) -> None:
    """Whole or not at all, also where the process is killed midway."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, file)
