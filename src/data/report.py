"""The data report: what a data set holds, what was left out and why, and what a model could cheat with."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from src.config import DatasetConfig
from src.data.images import Limits, decode_image
from src.data.locators import READ_ERRORS, DrawnLocator
from src.data.pages import Thumbnail, histogram_paths, render, thumbnail, write_page
from src.data.prepared import PreparedDataset
from src.data.samples import PARTS, RejectedPictureError
from src.data.shortcut import PIXEL_STATISTICS, shortcut_baselines
from src.data.sources import list_samples
from src.data.splits import UNUSED
from src.errors import DataError

REPORT, SAMPLES, REJECTED = "report.html", "samples.parquet", "rejected.parquet"
_EXAMPLES = 22
_MOST_GROUPS = 60
_MOST_IN_GROUP = 8
_MOST_REJECTED = 60
_SIDE_BUCKETS = (0, 64, 128, 256, 512, 1024, 2048, 1_000_000)


def write_report(dataset: PreparedDataset, config: DatasetConfig, folder: Path) -> Path:
    """Write `report.html`, and for machines `samples.parquet` and `rejected.parquet`, into `folder`.

    Returns the path of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_page(folder / REPORT, render("report.html", **report_content(dataset, config)))
    dataset.table.to_parquet(folder / SAMPLES, index=False)
    dataset.rejected.to_parquet(folder / REJECTED, index=False)
    return folder / REPORT


def report_content(dataset: PreparedDataset, config: DatasetConfig) -> dict[str, Any]:
    """What the template shows."""
    groups = duplicate_groups(dataset.table)
    return {
        "dataset": dataset,
        "total": len(dataset.table) + len(dataset.rejected),
        "parts": _parts(dataset),
        "counts": _counts(dataset.table),
        "examples": [_examples(dataset, label) for label in (1, 0)],
        "verdicts": dataset.rejected["verdict"].value_counts().to_dict(),
        "rejected": _rejected(dataset, config),
        "groups": [_strip(dataset, rows) for rows in groups[:_MOST_GROUPS]],
        "group_count": len(groups),
        "grouped_pictures": sum(map(len, groups)),
        "largest_group": max(map(len, groups), default=1),
        "conflicts": int(dataset.table.loc[dataset.table["conflict"], "group"].nunique()),
        "statistics": _statistics(dataset.table),
        "shortcuts": shortcut_baselines(dataset.table),
        "hints": crop_hints(dataset.table, config.image_size),
        "config": yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True),
    }


def duplicate_groups(table: pd.DataFrame) -> list[NDArray[np.int64]]:
    """Rows of each group of two pictures or more: those with two labels first, then the largest."""
    sizes = table["group"].map(table["group"].value_counts())
    several = table[sizes > 1]
    found = [np.asarray(rows) for rows in several.groupby("group").indices.values()]
    rows_of = several.index.to_numpy()
    conflict = table["conflict"].to_numpy()
    groups = [rows_of[rows] for rows in found]
    return sorted(groups, key=lambda rows: (not conflict[rows].any(), -len(rows), rows[0]))


def _parts(dataset: PreparedDataset) -> list[dict[str, Any]]:
    table, rows = dataset.table, []
    for part in (*PARTS, UNUSED):
        held = table[table["split"] == part]
        if part == UNUSED and held.empty:
            continue
        positive = int(held["label"].sum())
        rows.append(
            {
                "name": part,
                "negative": len(held) - positive,
                "positive": positive,
                "total": len(held),
                "share": len(held) / max(len(table), 1),
                "groups": held["group"].nunique(),
                "digest": dataset.split_digests.get(part, ""),
            }
        )
    return rows


def _counts(table: pd.DataFrame) -> list[tuple[str, list[tuple[str, int, int]]]]:
    """Counts of class 0 and 1 by source, format, colour mode and longer side; what has one value only is left out."""
    sides = table[["width", "height"]].max(axis=1)
    labels = [f"{low} to {high - 1}" for low, high in pairwise(_SIDE_BUCKETS[:-1])]
    labels.append(f"{_SIDE_BUCKETS[-2]} and more")
    properties = {
        "source": table["source"],
        "part shipped": table["part"],
        "format": table["format"],
        "colour mode of the file": table["mode"],
        "colour": table["colour"],
        "longer side, pixels": pd.cut(sides, _SIDE_BUCKETS, labels=labels, right=False),
    }
    counts = []
    for name, values in properties.items():
        crossed = pd.crosstab(values, table["label"]).reindex(columns=[0, 1], fill_value=0)
        crossed = crossed[crossed.sum(axis=1) > 0]
        if len(crossed):
            counts.append((name, [(str(value), int(row[0]), int(row[1])) for value, row in crossed.iterrows()]))
    return counts


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
        "pictures": [_of_row(dataset, row) for row in rows[:_MOST_IN_GROUP]],
        "more": max(0, len(rows) - _MOST_IN_GROUP),
        "conflict": bool(dataset.table["conflict"].to_numpy()[rows].any()),
    }


def _rejected(dataset: PreparedDataset, config: DatasetConfig) -> list[dict[str, Any]]:
    """The first rejected pictures, with thumbnails of those that can be shown: label conflicts, then rare verdicts."""
    rejected = dataset.rejected
    frequency = rejected["verdict"].map(rejected["verdict"].value_counts())
    urgency = frequency.where(rejected["verdict"] != "label_conflict", 0).to_numpy(dtype=np.int64)
    shown = rejected.iloc[np.argsort(urgency, kind="stable")[:_MOST_REJECTED]]
    known = dict(zip(dataset.table["sha256"], range(len(dataset.table)), strict=True))
    elsewhere = _pixels_of(shown[~shown["sha256"].isin(list(known))], config)
    rows = []
    for record in shown.to_dict("records"):
        pixels = dataset.images[known[record["sha256"]]] if record["sha256"] in known else None
        pixels = elsewhere.get((record["source"], record["path"])) if pixels is None else pixels
        caption = f"{record['path']} · {dataset.class_names[record['label']]}"
        picture = Thumbnail("", caption) if pixels is None else thumbnail(pixels, caption)
        rows.append({str(name): value for name, value in record.items()} | {"picture": picture})
    return rows


def _pixels_of(rejected: pd.DataFrame, config: DatasetConfig) -> dict[tuple[str, str], NDArray[np.uint8]]:
    """Pixels of rejected pictures that decode after all (found twice, or too small), by source and path."""
    wanted = set(zip(rejected["source"], rejected["path"], strict=True))
    found: dict[tuple[str, str], NDArray[np.uint8]] = {}
    try:
        samples = list_samples(config).samples if wanted else []
    except DataError:  # the source is not there any more; the report is about what was prepared
        return found
    for sample in samples:
        if (sample.source, sample.path) in wanted and not isinstance(sample.locator, DrawnLocator):
            limits = Limits(config.max_megapixels, 1, config.max_megabytes)
            try:
                data = sample.locator.read(limits.bytes)
                found[(sample.source, sample.path)] = decode_image(data, config.image_size, limits)
            except (RejectedPictureError, *READ_ERRORS):
                continue
    return found


def _statistics(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Each statistic by class: mean, deviation, histograms, and how well it tells the classes apart by itself."""
    labels = table["label"].to_numpy()
    found = []
    for name in PIXEL_STATISTICS:
        values = [table[name].to_numpy(dtype=np.float64)[labels == label] for label in (0, 1)]
        found.append(
            {
                "name": name,
                "means": [float(array.mean()) for array in values],
                "deviations": [float(array.std()) for array in values],
                "paths": histogram_paths(values),
                "auc": _separation(*values),
            }
        )
    return found


def _separation(negative: NDArray[np.float64], positive: NDArray[np.float64]) -> float:
    """Area under the ROC curve, on whichever side is above 0.5 (Mann-Whitney U)."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([negative, positive]))[len(negative) :]
    area = (ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative))
    return float(max(area, 1 - area))


def crop_hints(table: pd.DataFrame, image_size: int) -> list[str]:
    """What is known of how large the faces are in the pictures, and of what resizing does to them."""
    hints = []
    if "scale" in table and table["scale"].notna().any():
        heights = 2 * table["scale"].dropna()
        hints.append(f"Faces are {heights.min():.0%} to {heights.max():.0%} of the picture's height.")
    sizes = table[["width", "height"]].drop_duplicates()
    width, height = sizes.iloc[0]
    if len(sizes) == 1 and width == height and width < 128 and image_size > width:
        hints.append(
            f"Every picture is {width}x{height}: most likely cropped to the face, and enlarged "
            f"{image_size / width:.1f} times here; a smaller dataset.image_size loses nothing."
        )
    ratio = (table["width"] / table["height"]).to_numpy()
    stretched = float(((ratio > 1.5) | (ratio < 1 / 1.5)).mean())
    if stretched > 0.02:
        hints.append(f"{stretched:.0%} of the pictures are over 1.5 times as long one way as the other, and squeezed.")
    small = float((table[["width", "height"]].min(axis=1) < image_size / 2).mean())
    if small > 0.02 and len(sizes) > 1:
        hints.append(
            f"{small:.0%} of the pictures are less than half of {image_size} pixels on a side and get blurred."
        )
    return hints
