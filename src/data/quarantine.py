"""Copies of rejected pictures, for a person to look at. Nothing of the user's is moved or changed."""

from __future__ import annotations

import re
from pathlib import Path

from ..config import DatasetConfig
from .building import limits_of
from .locators import READ_ERRORS, SyntheticLocator
from .prepared import PreparedDataset
from .sources import list_samples
from .store import readable_disk_errors

_MAX_NAME_LENGTH = 180


def copy_rejected(dataset: PreparedDataset, config: DatasetConfig, folder: Path) -> int:
    """Copy each rejected file to `folder/verdict/`, named by its path; returns how many could be read.

    Raises DataError if `folder` cannot be written.
    """
    rejected = dataset.rejected
    verdicts = dict(zip(zip(rejected["source"], rejected["path"], strict=True), rejected["verdict"], strict=True))
    copied = 0
    with readable_disk_errors(folder):
        for sample in list_samples(config).samples if verdicts else []:
            verdict = verdicts.get((sample.source, sample.path))
            if verdict is None or isinstance(sample.locator, SyntheticLocator):
                continue
            try:
                data = sample.locator.read(limits_of(config).bytes)
            except READ_ERRORS:
                continue
            target = _free_name(folder / verdict, f"{sample.source}/{sample.path}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            copied += 1
    return copied


def _free_name(folder: Path, path: str) -> Path:
    """A name made of letters, digits and dots that is not taken, so that no odd path leads out of the folder."""
    name = re.sub(r"[^\w.-]+", "_", path)[-_MAX_NAME_LENGTH:].lstrip(".")
    stem, dot, suffix = name.rpartition(".")
    target, number = folder / name, 1
    while target.exists():
        number += 1
        target = folder / f"{stem or name}-{number}{dot}{suffix if stem else ''}"
    return target
