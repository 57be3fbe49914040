"""Build a store: decode in order, reject exact copies and what cannot be used, group what looks the same."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ..config import DatasetConfig
from ..errors import DataError
from .auxiliary import SHARE
from .decoding import Outcome, Preparation, decode_samples
from .locators import with_streamed_bytes
from .long_columns import BLOCK, values_of
from .lookalikes import FEATURES, features_of, finds_crops, lookalike_pairs
from .near_duplicates import Pairs, chained, connected_groups
from .packed_samples import PackedSamples
from .samples import NEITHER, Limits, Rejection, Sample
from .sources import Listing
from .store import PIXELS, StoreInfo, write_tables

_TYPES = {
    "label": pa.int8(),
    "slot": pa.int64(),
    "phash": pa.uint64(),
    "dhash": pa.uint64(),
    "weight": pa.float32(),
    "target": pa.float32(),
    "width": pa.int32(),
    "height": pa.int32(),
    **dict.fromkeys(FEATURES, pa.binary()),
    **dict.fromkeys(("path", "shipped_split", "subject", "source", "format", "mode", "color"), pa.large_string()),
    **dict.fromkeys(("sha256", "pixel_digest", "verdict", "detail"), pa.large_string()),
    **dict.fromkeys(("brightness", "contrast", "saturation", "sharpness", "red", "green", "blue"), pa.float32()),
}
_SAMPLE_COLUMNS = ("path", "label", "source", "shipped_split", "subject", "weight")
_ROW_COLUMNS = ("slot", *_SAMPLE_COLUMNS, "sha256")
_REJECTED_COLUMNS = ("path", "label", "verdict", "detail", "source", "sha256", "slot")


@dataclass
class _Rows:
    """A growing table that keeps only its last rows as Python objects."""

    blocks: list[pa.Table] = field(default_factory=list)
    latest: list[dict[str, Any]] = field(default_factory=list)

    def append(self, row: dict[str, Any]) -> None:
        self.latest.append(row)
        if len(self.latest) == BLOCK:
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


def build(
    folder: Path,
    samples: PackedSamples,
    listing: Listing,
    config: DatasetConfig,
    report_progress: Callable[[int, int], None],
) -> None:
    """Write a whole store of `samples` into `folder`. Raises DataError if too little of them can be used.

    Of `listing` the rejections and what was ignored are kept.
    """
    rows, rejected = _Rows(), _Rows()
    for rejection in listing.rejections:
        rejected.append(asdict(rejection) | {"sha256": "", "slot": -1})
    preparation = Preparation(config.image_size, Limits.of(config), folder / PIXELS, finds_crops(config), config.fit)
    with preparation.pixels.open("wb") as pixels:
        pixels.truncate(len(samples) * preparation.slot_bytes)
    streamed = with_streamed_bytes(samples, preparation.limits.bytes + 1)
    for slot, sample, outcome in decode_samples(streamed, len(samples), preparation, config.workers, config.cluster):
        if outcome.verdict == "ok":
            rows.append(_row(slot, sample, outcome))
        else:
            rejection = Rejection(sample.path, sample.label, outcome.verdict, outcome.detail, sample.source)
            rejected.append(asdict(rejection) | {"sha256": outcome.sha256, "slot": slot})
        report_progress(slot + 1, len(samples))
    table, copies = without_copies(rows.frame(_ROW_COLUMNS))
    rejected_table = pd.concat([rejected.frame(_REJECTED_COLUMNS), copies], ignore_index=True)
    rejected_table = rejected_table.sort_values("slot", kind="stable", ignore_index=True).drop(columns="slot")
    _check_usable(table, rejected_table, config)
    table = _grouped(_compacted(table, preparation), config)
    features = features_of(table)
    table = table.drop(columns=list(FEATURES), errors="ignore")
    info = StoreInfo(len(table), config.image_size, content_digest(table), dict(listing.ignored))
    write_tables(folder, table, rejected_table, features, info)


def _row(slot: int, sample: Sample, outcome: Outcome) -> dict[str, Any]:
    row: dict[str, Any] = {"slot": slot, "has_file": sample.locator.has_file}
    row |= {name: getattr(sample, name) for name in _SAMPLE_COLUMNS}
    row |= {} if sample.target is None else {"target": sample.target}
    row |= {SHARE + name: share for name, share in (sample.shares or {}).items()}
    return row | {"sha256": outcome.sha256} | outcome.facts


def without_copies(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`table` without exact copies, and those with their verdicts, as the table of what is rejected has them.

    Of the files with one SHA-256 the first in each shipped split stays; where they have two labels, none does.
    """
    repeated = table.iloc[_repeated(table["sha256"])]
    groups = repeated.groupby("sha256", sort=False)
    first = groups[["path", "label"]].transform("first")
    other = repeated["label"] != first["label"]
    spoilt = repeated["sha256"].isin(repeated.loc[other, "sha256"])
    again = spoilt | repeated[["sha256", "shipped_split"]].duplicated()
    partner = first["path"].where(other, repeated["sha256"].map(repeated[other].groupby("sha256")["path"].first()))
    detail = first["path"].where(~spoilt, "the same file as " + partner + ", which has the other label")
    verdict = np.where(spoilt, "label_conflict", "duplicate_of")
    copies = repeated.assign(verdict=verdict, detail=detail).loc[again, list(_REJECTED_COLUMNS)]
    return (table.drop(index=copies.index) if len(copies) else table), copies


def _repeated(sha256: pd.Series) -> NDArray[np.intp]:
    """The places of digests that stand more than once, found by 64 bits of each first, which take little memory."""
    keys = np.fromiter((int(digest[:16], 16) for digest in values_of(sha256)), np.uint64, len(sha256))
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    places = np.union1d(order[:-1][same], order[1:][same])
    return places[sha256.iloc[places].duplicated(keep=False).to_numpy()]


def _compacted(table: pd.DataFrame, preparation: Preparation) -> pd.DataFrame:
    """Move the last images of the file into the slots of rejected ones and cut it; the table follows their order.

    Where there are images of neither class, which come last, all move up instead, so that they stay last.
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
            image = file.read(preparation.slot_bytes)
            file.seek(int(position) * preparation.slot_bytes)
            file.write(image)
        file.truncate(count * preparation.slot_bytes)
    return table.drop(columns="slot").iloc[np.argsort(positions)].reset_index(drop=True)


def _check_usable(table: pd.DataFrame, rejected: pd.DataFrame, config: DatasetConfig) -> None:
    for label, name in ((0, config.negative), (1, config.positive)):
        if len(table) and (table["label"] == label).any():
            continue
        verdicts = Counter(rejected.loc[rejected["label"] == label, "verdict"])
        found = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        raise DataError(f"dataset {config.name}: no image of class {name!r} can be used ({found or 'none found'})")


def _grouped(table: pd.DataFrame, config: DatasetConfig) -> pd.DataFrame:
    """The table with `group`, and `conflict` where images that look the same carry two labels."""
    pairs = [
        chained(np.fromiter((int(digest, 16) for digest in values_of(table["pixel_digest"])), np.uint64, len(table)))
    ]
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
    for start in range(0, len(table), BLOCK):
        digest.update((("," if start else "") + ",".join(digests.iloc[start : start + BLOCK])).encode())
    digest.update(table["label"].to_numpy(dtype="<i1").tobytes())
    digest.update(table["group"].to_numpy(dtype="<i8").tobytes())
    if "target" in table:
        digest.update(table["target"].to_numpy(dtype="<f4").tobytes())
    for name in sorted(column for column in table.columns if column.startswith(SHARE)):
        digest.update(name.encode() + table[name].to_numpy(dtype="<f4").tobytes())
    return digest.hexdigest()[:16]
