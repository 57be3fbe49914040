"""The data report: what a data set holds, what was rejected and why, and what a model could cheat with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from ..config import DatasetConfig, project_path
from ..data.prepared import PreparedDataset, rejected_files
from ..data.samples import AUXILIARY_LABEL, SPLITS, VERDICT_MEANINGS, Limits, RejectedImageError
from ..data.splits import UNUSED
from ..data.store import locked, writing
from ..errors import DataError
from .data_statistics import Shortcut, class_statistics, crop_hints, property_counts, shortcut_baselines
from .pages import Thumbnail, render, thumbnail, write_page

REPORT, SAMPLES, REJECTED, SHORTCUTS = "report.html", "samples.parquet", "rejected.parquet", "shortcuts.json"
_EXAMPLES = 22
MAX_ENLARGEMENT, MAX_LEFT_OUT = 2.0, 0.02
_MAX_GROUPS = 60
_MAX_IN_GROUP = 8
_MAX_REJECTED = 60
_DECODABLE = ("label_conflict", "duplicate_of", "too_small")
"""Verdicts of files that hold an image all the same; for those alone is the source listed again."""


@dataclass(frozen=True)
class DataReport:
    """A written report: its page, the baselines that see no face, and the data set as `split_method` splits it."""

    page: Path
    shortcuts: list[Shortcut]
    dataset: PreparedDataset = dataclasses.field(repr=False, compare=False)
    split_method: str

    @property
    def warnings(self) -> list[str]:
        """A sentence for each way to separate the classes without a face, and for what a user may not expect."""
        table = self.dataset.table
        found = [shortcut.sentence for shortcut in self.shortcuts if shortcut.suspicious]
        if self.dataset.enlargement > MAX_ENLARGEMENT:
            found.append(
                f"half of the images are enlarged {self.dataset.enlargement:.1f} times or more, which takes time "
                "and adds nothing; a smaller dataset.image_size does as well"
            )
        if (left_out := int(table["conflict"].sum())) > MAX_LEFT_OUT * len(table):
            found.append(
                f"{left_out:,} of {len(table):,} images ({left_out / len(table):.1%}) look like one of the other class "
                "and are never evaluated; the report shows them"
            )
        shipped = table["shipped_split"].value_counts()
        if len(shipped) and self.split_method not in ("source", "column"):
            counts = ", ".join(f"{split} {count:,}" for split, count in shipped.items())
            found.append(f"the data's own splits ({counts}) are not used; dataset.split.method=source keeps them")
        return [f"warning: {sentence}" for sentence in found]


def write_report(dataset: PreparedDataset, config: DatasetConfig, folder: Path) -> DataReport:
    """Write `report.html` into `folder`, and for machines `samples.parquet`, `rejected.parquet`, `shortcuts.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = report_content(dataset, config)
    dataset.table.to_parquet(folder / SAMPLES, index=False)
    dataset.rejected.to_parquet(folder / REJECTED, index=False)
    shortcuts: list[Shortcut] = content["shortcuts"]
    (folder / SHORTCUTS).write_text(json.dumps([dataclasses.asdict(shortcut) for shortcut in shortcuts]))
    write_page(folder / REPORT, render("data_report.html", **content))
    return DataReport(folder / REPORT, shortcuts, dataset, config.split.method)


def data_report(dataset: PreparedDataset, config: DatasetConfig) -> DataReport:
    """The report of `dataset` as `config` splits it, written once into the cache for all runs that use it.

    Imports no Keras, so that a training run can make it before the backend starts. Raises DataError if the cache
    cannot be written.
    """
    made_of = (dataset.digest, dataset.split_digests, config)
    key = hashlib.blake2b(repr(made_of).encode(), digest_size=8).hexdigest()
    folder = project_path(config.cache) / f"report-{key}"
    with locked(folder):
        if not (folder / REPORT).exists():
            with writing(folder) as partial:
                write_report(dataset, config, partial)
    found = json.loads((folder / SHORTCUTS).read_text())
    return DataReport(folder / REPORT, [Shortcut(**shortcut) for shortcut in found], dataset, config.split.method)


def report_content(dataset: PreparedDataset, config: DatasetConfig) -> dict[str, Any]:
    """Collect what the template shows."""
    groups = duplicate_groups(dataset.table)
    return {
        "dataset": dataset,
        "total": len(dataset.table) + len(dataset.rejected),
        "splits": _splits(dataset),
        "counts": property_counts(dataset.table),
        "examples": [_examples(dataset, label) for label in (1, 0)],
        "verdicts": dataset.rejected["verdict"].value_counts().to_dict(),
        "meanings": VERDICT_MEANINGS,
        "rejected": _rejected(dataset, config),
        "groups": [_strip(dataset, rows) for rows in groups[:_MAX_GROUPS]],
        "group_count": len(groups),
        "grouped_images": sum(map(len, groups)),
        "largest_group": max(map(len, groups), default=1),
        "conflicts": int(dataset.table.loc[dataset.table["conflict"], "group"].nunique()),
        "statistics": class_statistics(dataset.table),
        "shortcuts": shortcut_baselines(dataset.table),
        "hints": crop_hints(dataset.table, config.image_size),
        "config": yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True),
    }


def duplicate_groups(table: pd.DataFrame) -> list[NDArray[np.int64]]:
    """Rows of each group of two images or more: those with two labels first, then the largest."""
    sizes = table["group"].map(table["group"].value_counts())
    several = table[sizes > 1]
    found = [np.asarray(rows) for rows in several.groupby("group").indices.values()]
    rows_of = several.index.to_numpy()
    conflict = table["conflict"].to_numpy()
    groups = [rows_of[rows] for rows in found]
    return sorted(groups, key=lambda rows: (not conflict[rows].any(), -len(rows), rows[0]))


def _splits(dataset: PreparedDataset) -> list[dict[str, Any]]:
    table, rows = dataset.table, []
    for split in (*SPLITS, UNUSED):
        held = table[table["split"] == split]
        if split == UNUSED and held.empty:
            continue
        positive = int(held["label"].sum())
        rows.append(
            {
                "name": split,
                "negative": len(held) - positive,
                "positive": positive,
                "total": len(held),
                "share": len(held) / max(len(table), 1),
                "groups": held["group"].nunique(),
                "digest": dataset.split_digests.get(split, ""),
            }
        )
    return rows


def _examples(dataset: PreparedDataset, label: int) -> tuple[str, list[Thumbnail]]:
    rows = np.flatnonzero((dataset.table["label"] == label).to_numpy())
    chosen = np.sort(np.random.default_rng(0).permutation(rows)[:_EXAMPLES])
    return dataset.class_names[label], [_of_row(dataset, row) for row in chosen]


def _of_row(dataset: PreparedDataset, row: int) -> Thumbnail:
    record = dataset.table.iloc[row]
    label = dataset.class_names[int(record["label"])]
    caption = f"{record['path']} · {label} · {record['split']}"
    return thumbnail(dataset.images[row], caption, "positive" if record["label"] else "negative")


def _strip(dataset: PreparedDataset, rows: NDArray[np.int64]) -> dict[str, Any]:
    return {
        "images": [_of_row(dataset, row) for row in rows[:_MAX_IN_GROUP]],
        "more": max(0, len(rows) - _MAX_IN_GROUP),
        "conflict": bool(dataset.table["conflict"].to_numpy()[rows].any()),
    }


def _rejected(dataset: PreparedDataset, config: DatasetConfig) -> list[dict[str, Any]]:
    """The first rejected images, with thumbnails of those that can be shown: label conflicts, then rare verdicts."""
    rejected = dataset.rejected
    frequency = rejected["verdict"].map(rejected["verdict"].value_counts())
    urgency = frequency.where(rejected["verdict"] != "label_conflict", 0).to_numpy(dtype=np.int64)
    shown = rejected.iloc[np.argsort(urgency, kind="stable")[:_MAX_REJECTED]]
    known = dict(zip(dataset.table["sha256"], range(len(dataset.table)), strict=True))
    decodable = shown["verdict"].isin(_DECODABLE) & ~shown["sha256"].isin(list(known))
    elsewhere = _pixels_of(shown[decodable], config)
    rows = []
    for record in shown.to_dict("records"):
        pixels = dataset.images[known[record["sha256"]]] if record["sha256"] in known else None
        pixels = elsewhere.get((record["source"], record["path"])) if pixels is None else pixels
        label = "neither class" if record["label"] == AUXILIARY_LABEL else dataset.class_names[record["label"]]
        caption = f"{record['path']} · {label}"
        image = Thumbnail("", caption) if pixels is None else thumbnail(pixels, caption)
        rows.append({str(name): value for name, value in record.items()} | {"image": image, "class": label})
    return rows


def _pixels_of(rejected: pd.DataFrame, config: DatasetConfig) -> dict[tuple[str, str], NDArray[np.uint8]]:
    """Pixels of rejected images that decode after all (found twice, or too small), by source and path."""
    found: dict[tuple[str, str], NDArray[np.uint8]] = {}
    limits = dataclasses.replace(Limits.of(config), min_side=1)
    with suppress(DataError):  # the source is not there any more; the report is about what was prepared
        for sample, data in rejected_files(rejected, config):
            with suppress(RejectedImageError):
                found[(sample.source, sample.path)] = sample.locator.decode(data, config.image_size, limits).pixels
    return found
