"""Rejected files, read again for a person to look at. Nothing of the user's is moved or changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ..config import DatasetConfig
from .locators import READ_ERRORS
from .prepared import PreparedDataset
from .samples import Limits, Sample
from .sources import list_samples
from .store import readable_disk_errors

_MAX_NAME_BYTES = 180


def rejected_files(rejected: pd.DataFrame, config: DatasetConfig) -> Iterator[tuple[Sample, bytes]]:
    """The rows of `rejected` (columns source and path) that have a file which can be read, each with its bytes.

    Raises DataError if the source is not there any more.
    """
    wanted = set(zip(rejected["source"], rejected["path"], strict=True))
    for sample in list_samples(config).samples if wanted else []:
        if (sample.source, sample.path) in wanted and sample.locator.has_file:
            try:
                data = sample.locator.read(Limits.of(config).bytes)
            except READ_ERRORS:
                continue
            yield sample, data


def copy_rejected(dataset: PreparedDataset, config: DatasetConfig, folder: Path) -> int:
    """Copy each rejected file to `folder/verdict/`, named by its path; returns how many could be read.

    Raises DataError if `folder` cannot be written.
    """
    rejected, copied = dataset.rejected, 0
    verdicts = dict(zip(zip(rejected["source"], rejected["path"], strict=True), rejected["verdict"], strict=True))
    with readable_disk_errors(folder, "quarantine"):
        for sample, data in rejected_files(rejected, config):
            verdict = verdicts[(sample.source, sample.path)]
            target = _free_name(folder / verdict, f"{sample.source}/{sample.path}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            copied += 1
    return copied


def _free_name(folder: Path, path: str) -> Path:
    """A name made of letters, digits and dots that is not taken, so that no odd path leads out of the folder."""
    encoded = re.sub(r"[^\w.-]+", "_", path).encode()[-_MAX_NAME_BYTES:]
    name = encoded.decode(errors="ignore").lstrip(".")
    stem, dot, suffix = name.rpartition(".")
    target, number = folder / name, 1
    while target.exists():
        number += 1
        target = folder / f"{stem or name}-{number}{dot}{suffix if stem else ''}"
    return target
