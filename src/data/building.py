"""Build a store: decode in order, reject exact copies and what cannot be used, group what looks the same."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..config import DatasetConfig
from ..errors import DataError
from .auxiliary import SHARE
from .decoding import Outcome, Preparation, decode_samples
from .locators import with_streamed_bytes
from .lookalikes import FEATURES, features_of, finds_crops, lookalike_pairs
from .near_duplicates import Pairs, chained, connected_groups
from .samples import NEITHER, Limits, Rejection, Sample
from .sources import Listing
from .store import PIXELS, StoreInfo, write_tables

_BLOCK = 4096  # rows that are held as Python objects at once
_TYPES = {
    "label": pa.int8(),
    "phash": pa.uint64(),
    "dhash": pa.uint64(),
    "weight": pa.float32(),
    "target": pa.float32(),
    "width": pa.int32(),
    "height": pa.int32(),
    **dict.fromkeys(FEATURES, pa.binary()),
    **dict.fromkeys(("path", "shipped_split", "subject", "source", "format", "mode", "colour"), pa.large_string()),
    **dict.fromkeys(("sha256", "pixel_digest", "verdict", "detail"), pa.large_string()),
    **dict.fromkeys(("brightness", "contrast", "saturation", "sharpness", "red", "green", "blue"), pa.float32()),
}
_SAMPLE_COLUMNS = ("path", "label", "source", "shipped_split", "subject", "weight")
_REJECTED_COLUMNS = ("path", "label", "verdict", "detail", "source", "sha256")
_SPLIT_BITS = {None: 1, "train": 2, "validation": 4, "test": 8}


@dataclass
class _Rows:
    """A growing table that keeps only its last rows as Python objects."""

    blocks: list[pa.Table] = field(default_factory=list)
    latest: list[dict[str, Any]] = field(default_factory=list)

    def append(self, row: dict[str, Any]) -> None:
        self.latest.append(row)
        if len(self.latest) == _BLOCK:
            self._close_block()

    def _close_block(self) -> None:
        names = list(dict.fromkeys(itertools.chain.from_iterable(self.latest)))
        columns = {name: pa.array([row.get(name) for row in self.latest], _TYPES.get(name)) for name in names}
        self.blocks.append(pa.table(columns))
        self.latest = []

    def frame(self, columns: tuple[str, ...] = ()) -> pd.DataFrame:
        """The table; its rows are handed over, so that they are not in memory twice."""
        if self.latest:
            self._close_block()
        if not self.blocks:
            return pa.table({name: pa.array([], _TYPES[name]) for name in columns}).to_pandas()
        table, self.blocks = pa.concat_tables(self.blocks, promote_options="permissive"), []
        return table.to_pandas(split_blocks=True, self_destruct=True)


@dataclass
class _Copies:
    """Recognizes exact copies by 128 bits of their SHA-256. The first in each split stays; one with another label
    spoils them all.

    `seen` holds the slot of the first and, in the lowest four bits, the splits of which one stays: two integers a
    picture, where tuples of strings would take three times as much memory.
    """

    samples: Sequence[Sample]
    seen: dict[int, int] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)

    def check(self, slot: int, sha256: str) -> Outcome:
        sample, key = self.samples[slot], int(sha256[:32], 16)
        split, known = _SPLIT_BITS[sample.shipped_split], self.seen.get(key)
        if known is None:
            self.seen[key] = slot << 4 | split
            return Outcome("ok")
        first = self.samples[known >> 4]
        if first.label != sample.label:
            self.conflicts.setdefault(sha256, sample.path)
            return Outcome("label_conflict", f"the same file as {first.path}, which has the other label", sha256)
        if known & split:
            return Outcome("duplicate_of", first.path, sha256)
        self.seen[key] = known | split
        return Outcome("ok")


def build(
    folder: Path,
    samples: list[Sample],
    listing: Listing,
    config: DatasetConfig,
    report_progress: Callable[[int, int], None],
) -> None:
    """Write a whole store of `samples` into `folder`. Raises DataError if too little of them can be used."""
    rows, rejected, copies = _Rows(), _Rows(), _Copies(samples)
    for rejection in listing.rejections:
        rejected.append(asdict(rejection) | {"sha256": ""})
    preparation = Preparation(config.image_size, Limits.of(config), folder / PIXELS, finds_crops(config), config.fit)
    with preparation.pixels.open("wb") as pixels:
        pixels.truncate(len(samples) * preparation.slot_bytes)
    streamed = with_streamed_bytes(samples, preparation.limits.bytes + 1)
    for slot, sample, outcome in decode_samples(streamed, len(samples), preparation, config.workers):
        checked = copies.check(slot, outcome.sha256) if outcome.verdict == "ok" else outcome
        if checked.verdict == "ok":
            described = {name: getattr(sample, name) for name in _SAMPLE_COLUMNS}
            has_file = {"has_file": sample.locator.has_file}
            described |= {} if sample.target is None else {"target": sample.target}
            described |= {SHARE + name: share for name, share in (sample.shares or {}).items()}
            rows.append({"slot": slot} | has_file | described | {"sha256": outcome.sha256} | outcome.facts)
        else:
            rejection = Rejection(sample.path, sample.label, checked.verdict, checked.detail, sample.source)
            rejected.append(asdict(rejection) | {"sha256": outcome.sha256})
        report_progress(slot + 1, len(samples))
    copies.seen.clear()
    table = _without_conflicts(rows.frame(), copies.conflicts, rejected)
    rejected_table = rejected.frame(_REJECTED_COLUMNS)
    _check_usable(table, rejected_table, config)
    table = _grouped(_compacted(table, preparation), config)
    features = features_of(table)
    table = table.drop(columns=list(FEATURES), errors="ignore")
    info = StoreInfo(len(table), config.image_size, content_digest(table), dict(listing.ignored))
    write_tables(folder, table, rejected_table, features, info)


def _without_conflicts(table: pd.DataFrame, conflicts: dict[str, str], rejected: _Rows) -> pd.DataFrame:
    """Move files that were found again under the other label from `table` to `rejected`."""
    if not conflicts:
        return table
    spoilt = table["sha256"].isin(list(conflicts))
    for row in table.loc[spoilt, ["path", "label", "source", "sha256"]].to_dict("records"):
        detail = f"the same file as {conflicts[str(row['sha256'])]}, which has the other label"
        rejected.append({"verdict": "label_conflict", "detail": detail, **{str(name): row[name] for name in row}})
    return table[~spoilt]


def _compacted(table: pd.DataFrame, preparation: Preparation) -> pd.DataFrame:
    """Move the last pictures of the file into the slots of rejected ones and cut it; the table follows their order.

    Where there are pictures of neither class, which come last, all move up instead, so that they stay last.
    """
    slots = table["slot"].to_numpy()
    count = len(slots)
    if np.array_equal(slots, np.arange(count)):
        with preparation.pixels.open("r+b") as file:
            file.truncate(count * preparation.slot_bytes)
        return table.drop(columns="slot").reset_index(drop=True)
    positions = slots.copy()
    if (table["label"] == NEITHER).any():
        positions = np.arange(count)
    else:
        positions[slots >= count] = np.setdiff1d(np.arange(count), slots)
    moved = slots != positions
    with preparation.pixels.open("r+b") as file:
        for slot, position in zip(slots[moved], positions[moved], strict=True):
            file.seek(int(slot) * preparation.slot_bytes)
            picture = file.read(preparation.slot_bytes)
            file.seek(int(position) * preparation.slot_bytes)
            file.write(picture)
        file.truncate(count * preparation.slot_bytes)
    return table.drop(columns="slot").iloc[np.argsort(positions)].reset_index(drop=True)


def _check_usable(table: pd.DataFrame, rejected: pd.DataFrame, config: DatasetConfig) -> None:
    for label, name in ((0, config.negative), (1, config.positive)):
        if len(table) and (table["label"] == label).any():
            continue
        verdicts = Counter(rejected.loc[rejected["label"] == label, "verdict"])
        found = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        raise DataError(f"dataset {config.name}: no picture of class {name!r} can be used ({found or 'none found'})")


def _grouped(table: pd.DataFrame, config: DatasetConfig) -> pd.DataFrame:
    """The table with `group`, and `conflict` where pictures that look the same carry two labels."""
    pairs = [chained(np.fromiter((int(digest, 16) for digest in table["pixel_digest"]), np.uint64, len(table)))]
    if config.near_duplicate_distance is not None:
        rows = np.flatnonzero(table["has_file"].to_numpy())
        left, right = lookalike_pairs(table.iloc[rows], config)
        pairs.append((rows[left], rows[right]))
    alike = connected_groups(len(table), _joined(pairs))
    labels = table["label"].to_numpy()
    conflict = np.bincount(alike, labels == 0)[alike].astype(bool) & np.bincount(alike, labels == 1)[alike].astype(bool)
    known = np.flatnonzero(table["subject"].notna().to_numpy())
    named = table[["source", "subject"]].iloc[known]
    left, right = chained((named["source"] + "\0" + named["subject"]).to_numpy(dtype=object).astype(str))
    table = table.drop(columns="has_file").assign(conflict=conflict)
    table.insert(2, "group", connected_groups(len(table), _joined([chained(alike), (known[left], known[right])])))
    return table


def _joined(pairs: list[Pairs]) -> Pairs:
    return np.concatenate([left for left, _ in pairs]), np.concatenate([right for _, right in pairs])


def content_digest(table: pd.DataFrame) -> str:
    """A short name for the pixels, labels, groups and targets of a table, in its order."""
    digest, digests = hashlib.sha256(), table["pixel_digest"]
    for start in range(0, len(table), _BLOCK):
        digest.update((("," if start else "") + ",".join(digests.iloc[start : start + _BLOCK])).encode())
    digest.update(table["label"].to_numpy(dtype="<i1").tobytes())
    digest.update(table["group"].to_numpy(dtype="<i8").tobytes())
    if "target" in table:
        digest.update(table["target"].to_numpy(dtype="<f4").tobytes())
    for name in sorted(column for column in table.columns if column.startswith(SHARE)):
        digest.update(name.encode() + table[name].to_numpy(dtype="<f4").tobytes())
    return digest.hexdigest()[:16]
