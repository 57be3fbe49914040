"""Build a store: decode in order, reject exact copies and what cannot be used, group what looks the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config import DatasetConfig
from ..errors import DataError
from .auxiliary import SHARE
from .decoding import DecodedSample, Preparation, decode_samples
from .duplicates import FEATURES, concatenated, connected_groups, equal_pairs, features_of, finds_crops, lookalike_pairs
from .locators import with_streamed_bytes
from .samples import AUXILIARY_LABEL, Limits, Rejection, Sample
from .sources import Listing
from .store import PIXELS, StoreInfo, write_tables

_TYPES = {
    "label": "int8",
    **dict.fromkeys(("phash", "dhash"), "uint64"),
    **dict.fromkeys(("width", "height"), "int32"),
    **dict.fromkeys(("weight", "target", "brightness", "contrast", "saturation", "sharpness"), "float32"),
    **dict.fromkeys(("red", "green", "blue"), "float32"),
    **dict.fromkeys(("path", "shipped_split", "subject", "source", "format", "mode", "color"), "str"),
    **dict.fromkeys(("sha256", "pixel_digest", "verdict", "detail"), "str"),
}
_SAMPLE_COLUMNS = ("path", "label", "source", "shipped_split", "subject", "weight")
_REJECTED_COLUMNS = ("path", "label", "verdict", "detail", "source", "sha256", "slot")


def build(
    folder: Path,
    listing: Listing,
    config: DatasetConfig,
    report_progress: Callable[[int, int], None],
) -> None:
    """Write a whole store of what is listed into `folder`. Raises DataError if too few images can be used."""
    samples, rows = listing.samples, list[dict[str, Any]]()
    rejected = [asdict(rejection) | {"sha256": "", "slot": -1} for rejection in listing.rejections]
    preparation = Preparation(config.image_size, Limits.of(config), folder / PIXELS, finds_crops(config), config.fit)
    with preparation.pixels.open("wb") as pixels:
        pixels.truncate(len(samples) * preparation.slot_bytes)
    streamed = with_streamed_bytes(samples, preparation.limits.bytes + 1)
    for slot, sample, decoded in decode_samples(streamed, len(samples), preparation, config.workers, config.cluster):
        if decoded.verdict == "ok":
            rows.append(_row(slot, sample, decoded))
        else:
            rejection = Rejection(sample.path, sample.label, decoded.verdict, decoded.detail, sample.source)
            rejected.append(asdict(rejection) | {"sha256": decoded.sha256, "slot": slot})
        report_progress(slot + 1, len(samples))
    table, copies = without_copies(_table(rows, ("slot", *_SAMPLE_COLUMNS, "sha256")))
    rejected_table = pd.concat([_table(rejected, _REJECTED_COLUMNS), copies], ignore_index=True)
    rejected_table = rejected_table.sort_values("slot", kind="stable", ignore_index=True).drop(columns="slot")
    _check_usable(table, rejected_table, config)
    table = _grouped(_compacted(table, preparation), config)
    features = features_of(table)
    table = table.drop(columns=list(FEATURES), errors="ignore")
    info = StoreInfo(len(table), config.image_size, content_digest(table), dict(listing.ignored))
    write_tables(folder, table, rejected_table, features, info)


def _row(slot: int, sample: Sample, decoded: DecodedSample) -> dict[str, Any]:
    row: dict[str, Any] = {"slot": slot, "has_file": sample.locator.has_file}
    row |= {name: getattr(sample, name) for name in _SAMPLE_COLUMNS}
    row |= {} if sample.target is None else {"target": sample.target}
    row |= {SHARE + name: share for name, share in (sample.shares or {}).items()}
    return row | {"sha256": decoded.sha256} | decoded.facts


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    """Return a typed table of `rows`, which are cleared; with `columns` where there are none."""
    table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(columns)).astype({"slot": "int64"})
    rows.clear()
    return table.astype({name: kind for name, kind in _TYPES.items() if name in table})


def without_copies(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return `table` without exact copies, and these with their verdicts as rows of the table of rejected images.

    Of the files with one SHA-256 the first in each shipped split stays; where they have two labels, none does.
    """
    repeated = table[table["sha256"].duplicated(keep=False)]
    groups = repeated.groupby("sha256", sort=False)
    first = groups[["path", "label"]].transform("first")
    other = repeated["label"] != first["label"]
    conflict = repeated["sha256"].isin(repeated.loc[other, "sha256"])
    again = conflict | repeated[["sha256", "shipped_split"]].duplicated()
    partner = first["path"].where(other, repeated["sha256"].map(repeated[other].groupby("sha256")["path"].first()))
    detail = first["path"].where(~conflict, "the same file as " + partner + ", which has the other label")
    verdict = np.where(conflict, "label_conflict", "duplicate_of")
    copies = repeated.assign(verdict=verdict, detail=detail).loc[again, list(_REJECTED_COLUMNS)]
    return table.drop(index=copies.index), copies


def _compacted(table: pd.DataFrame, preparation: Preparation) -> pd.DataFrame:
    """Move the last images of the file into the slots of rejected ones and cut it; the table follows their order.

    Where there are images of auxiliary classes, which come last, all move up instead, so that they stay last.
    """
    slots = table["slot"].to_numpy()
    count = len(slots)
    positions = slots.copy()
    if (table["label"] == AUXILIARY_LABEL).any():
        positions = np.arange(count)
    else:
        positions[slots >= count] = np.setdiff1d(np.arange(count), slots)
    moved = slots != positions
    with preparation.pixels.open("r+b") as file:
        for slot, position in zip(slots[moved], positions[moved], strict=True):
            file.seek(int(slot) * preparation.slot_bytes)
            image = file.read(preparation.slot_bytes)
            file.seek(int(position) * preparation.slot_bytes)
            file.write(image)
        file.truncate(count * preparation.slot_bytes)
    return table.drop(columns="slot").iloc[np.argsort(positions)].reset_index(drop=True)


def _check_usable(table: pd.DataFrame, rejected: pd.DataFrame, config: DatasetConfig) -> None:
    for label, name in ((0, config.negative), (1, config.positive)):
        if (table["label"] == label).any():
            continue
        verdicts = Counter(rejected.loc[rejected["label"] == label, "verdict"])
        found = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        raise DataError(f"dataset {config.name}: no image of class {name!r} can be used ({found or 'none found'})")


def _grouped(table: pd.DataFrame, config: DatasetConfig) -> pd.DataFrame:
    """Return the table with `group`, and `conflict` where images that look the same carry two labels."""
    pairs = [equal_pairs(table["pixel_digest"])]
    if config.near_duplicate_distance is not None:
        rows = np.flatnonzero(table["has_file"].to_numpy())
        left, right = lookalike_pairs(table.iloc[rows], config)
        pairs.append((rows[left], rows[right]))
    alike = connected_groups(len(table), concatenated(pairs))
    labels = table["label"].to_numpy()
    conflict = np.bincount(alike, labels == 0)[alike].astype(bool) & np.bincount(alike, labels == 1)[alike].astype(bool)
    known = np.flatnonzero(table["subject"].notna().to_numpy())
    named = table[["source", "subject"]].iloc[known]
    left, right = equal_pairs(named["source"] + "\0" + named["subject"])
    table = table.drop(columns="has_file").assign(conflict=conflict)
    pairs = [equal_pairs(alike), (known[left], known[right])]
    table.insert(2, "group", connected_groups(len(table), concatenated(pairs)))
    return table


def content_digest(table: pd.DataFrame) -> str:
    """Return a short name for the pixels, labels, groups and targets of a table, in its order."""
    digest = hashlib.sha256(",".join(table["pixel_digest"]).encode())
    digest.update(table["label"].to_numpy(dtype="<i1").tobytes())
    digest.update(table["group"].to_numpy(dtype="<i8").tobytes())
    if "target" in table:
        digest.update(table["target"].to_numpy(dtype="<f4").tobytes())
    for name in sorted(column for column in table.columns if column.startswith(SHARE)):
        digest.update(name.encode() + table[name].to_numpy(dtype="<f4").tobytes())
    return digest.hexdigest()[:16]
