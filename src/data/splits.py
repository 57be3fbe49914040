"""Splits into training, validation and test: whole groups only, the same from the same seed everywhere.

A group's place follows from a hash of what it holds, never from the order of files or rows. A group in which images
that look the same carry two labels is never validated or tested on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import SplitConfig
from ..errors import DataError
from .samples import SPLITS

UNUSED = "unused"


@dataclass(frozen=True)
class Groups:
    """Groups numbered from 0. `of_row` (rows,) is each row's group; all else has one entry for each group."""

    of_row: NDArray[np.int64]
    counts: NDArray[np.int64]
    """Images of class 0 and of class 1, (groups, 2)."""
    conflict: NDArray[np.bool_]
    """True where images that look the same carry two labels."""
    place: NDArray[np.float64]
    """A stable hash in [0, 1)."""

    def __len__(self) -> int:
        return len(self.place)


@dataclass(frozen=True)
class SplitAssignment:
    """The split of every row ("train", "validation", "test", "unused"), shape (rows,), and what a report should say."""

    splits: NDArray[np.object_]
    crossing_groups: int = 0
    """Groups of which the source ships images in several of its splits."""
    dropped: int = 0
    """Images that are not used because of that."""


def assign_splits(
    table: pd.DataFrame, config: SplitConfig, cross_split_duplicates: str, train_only: Set[str] = frozenset()
) -> SplitAssignment:
    """Assign the rows of `table` to training, validation and test, by whole groups.

    Its columns are group, label, conflict, sha256 and source, and for `method=source` also shipped_split. Rows of the
    sources `train_only` have no part in the assignment; they go to training but for those whose group is evaluated.
    Raises DataError where a class has too few groups for that, or where a shipped split is asked for and missing.
    """
    if train_only:
        return _with_train_only(table, config, cross_split_duplicates, table["source"].isin(train_only).to_numpy(bool))
    # The place of an image in a hashed split never changes, so no seed may change it.
    groups = _gather(table, seed=0 if config.method == "hashed" else config.seed)
    if config.method in ("source", "column"):
        outcome = _as_shipped(table, groups, config, cross_split_duplicates)
    elif config.method == "hashed":
        outcome = SplitAssignment(_by_hash(groups, config)[groups.of_row])
    else:
        outcome = SplitAssignment(_by_ratio(groups, config)[groups.of_row])
    _check_classes(table["label"].to_numpy(), outcome.splits, config)
    return outcome


def _with_train_only(
    table: pd.DataFrame, config: SplitConfig, crossing: str, train_only: NDArray[np.bool_]
) -> SplitAssignment:
    outcome = assign_splits(table[~train_only], config, crossing)
    splits = np.full(len(table), "train", dtype=object)
    splits[~train_only] = outcome.splits
    group = table["group"].to_numpy()
    evaluated = group[np.isin(splits, SPLITS[1:])]
    splits[train_only & np.isin(group, evaluated)] = UNUSED
    return replace(outcome, splits=splits)


def _gather(table: pd.DataFrame, seed: int) -> Groups:
    """Return the groups of a table, with their hashed places for `seed`."""
    of_row = table["group"].to_numpy(dtype=np.int64)
    labels = table["label"].to_numpy()
    count = int(of_row.max(initial=-1)) + 1
    counts = np.stack([np.bincount(of_row[labels == label], minlength=count) for label in (0, 1)], axis=1)
    conflict = np.bincount(of_row, weights=table["conflict"].to_numpy(), minlength=count) > 0
    place = np.full(count, np.inf)
    # The least hash of its images: one that joins later can move its group in one direction only (see `_by_hash`).
    np.minimum.at(place, of_row, _unit_hashes(table["sha256"], seed))
    return Groups(of_row, counts, conflict, place)


def _unit_hashes(keys: pd.Series, seed: int) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each key, by BLAKE2b of seed and key."""
    salt = seed.to_bytes(8, "little")
    digests = (hashlib.blake2b(key.encode(), digest_size=8, salt=salt).digest() for key in keys)
    return np.fromiter((int.from_bytes(digest, "little") for digest in digests), np.uint64, len(keys)) / 2.0**64


def _by_ratio(groups: Groups, config: SplitConfig) -> NDArray[np.object_]:
    """Split per group by `stratified` or `kfold`. Groups with a conflict go to training."""
    splits = np.full(len(groups), "train", dtype=object)
    rest = np.flatnonzero(~groups.conflict)
    if config.method == "kfold":
        try:
            fold = _partition(groups, rest, [1 / config.folds] * config.folds)
        except DataError as error:
            raise DataError(f"{error}, or lower dataset.split.folds={config.folds}") from None
        splits[rest[fold == config.fold]] = "test"
        rest = rest[fold != config.fold]
        both = config.train + config.validation
        held_out = _partition(groups, rest, [config.train / both, config.validation / both])
        splits[rest[held_out == 1]] = "validation"
    else:
        splits[rest] = np.array(SPLITS, dtype=object)[
            _partition(groups, rest, [config.train, config.validation, config.test])
        ]
    return splits


def _partition(groups: Groups, members: NDArray[np.int64], shares: Sequence[float]) -> NDArray[np.int64]:
    """Return the number of the share, 0 to len(shares) - 1, to which each of `members` (numbers of groups) goes.

    The groups of one class stand on a line in the order of their hashes; it is cut at the borders between two groups
    that are nearest to the shares, so that each share of each class is within one group's size of its target. Groups
    of both classes (a person's happy and sad images) are assigned before that, the largest first, each to where it
    brings the class counts closest to their targets (as scikit-learn's StratifiedGroupKFold does), and the cuts make
    up for them.
    """
    counts = groups.counts[members]
    targets = np.outer(shares, counts.sum(axis=0))
    assigned = np.full(len(members), -1, dtype=np.int64)
    mixed = np.flatnonzero((counts > 0).all(axis=1))
    placed = np.zeros_like(targets)
    for group in mixed[np.lexsort((groups.place[members[mixed]], -counts[mixed].sum(axis=1)))]:
        missing = targets - placed
        # What the squared distance to the targets falls by, in classes weighted alike.
        gain = ((missing**2 - (missing - counts[group]) ** 2) / targets.sum(axis=0) ** 2).sum(axis=1)
        assigned[group] = int(np.argmax(gain))
        placed[assigned[group]] += counts[group]
    for label in (0, 1):
        line = np.flatnonzero((counts[:, label] > 0) & (assigned < 0))
        line = line[np.argsort(groups.place[members[line]], kind="stable")]
        cuts = _cuts(counts[line, label], np.maximum(targets - placed, 0)[:, label], placed[:, label] == 0)
        assigned[line] = np.repeat(np.arange(len(shares)), np.diff([0, *cuts, len(line)]))
    return assigned


def _cuts(sizes: NDArray[np.int64], wanted: NDArray[np.float64], empty: NDArray[np.bool_]) -> list[int]:
    """Return where to cut a line of groups into len(wanted) splits; each that is still `empty` gets one at least."""
    if len(sizes) < empty.sum():
        raise DataError(
            f"a class has only {len(sizes)} images or groups of them that differ, too few for {empty.sum()} splits; "
            "add images"
        )
    before = np.concatenate([[0], np.cumsum(sizes)])
    fractions = np.cumsum(wanted)[:-1] / max(wanted.sum(), 1e-9)
    cuts: list[int] = []
    for number, fraction in enumerate(fractions):
        nearest = int(np.argmin(np.abs(before - fraction * before[-1])))
        earliest = (cuts[-1] if cuts else 0) + int(empty[number])
        latest = len(sizes) - int(empty[number + 1 :].sum())
        cuts.append(min(max(nearest, earliest), latest))
    return cuts


def _by_hash(groups: Groups, config: SplitConfig) -> NDArray[np.object_]:
    """Split per group from its own hash alone: test below `test`, validation next, training above.

    A group's hash is the least of its images', so an image that joins it can only move it towards test: no growth
    of the data brings a tested image into training. For the same reason a group in which a conflict appears leaves
    validation and test without entering training.
    """
    held_out = config.test + config.validation
    splits = np.select([groups.place < config.test, groups.place < held_out], ["test", "validation"], "train")
    return np.where(groups.conflict & (splits != "train"), UNUSED, splits).astype(object)


def _as_shipped(table: pd.DataFrame, groups: Groups, config: SplitConfig, crossing: str) -> SplitAssignment:
    """Return the splits that the sources ship; one that none ships is assigned from the training split. A source that
    ships no splits at all, beside one that does, is assigned on its own.
    """
    splits = table["shipped_split"].to_numpy(dtype=object, na_value=UNUSED).copy()
    rank = np.select([splits == split for split in SPLITS], range(len(SPLITS)), -1)
    if not (rank == 0).any():
        raise DataError(f"the data ships no training split for dataset.split.method={config.method}; use stratified")
    held = np.stack([np.bincount(groups.of_row, rank == number, len(groups)) > 0 for number in range(len(SPLITS))])
    crosses = held.sum(axis=0) > 1
    if crosses.any() and crossing == "error":
        raise DataError(
            f"groups of near-duplicates that cross the splits that the data ships: {crosses.sum()}; "
            "set dataset.cross_split_duplicates=drop_from_train, or keep"
        )
    dropped = np.zeros(len(splits), dtype=bool)
    if crossing == "drop_from_train":
        # The later split keeps its images: test before validation before training.
        last = len(SPLITS) - 1 - np.argmax(held[::-1], axis=0)
        dropped = (rank >= 0) & (rank < last[groups.of_row])
    splits[dropped | (groups.conflict[groups.of_row] & (rank > 0))] = UNUSED
    _assign_missing(splits, groups, config)
    _assign_unsplit(splits, table, groups, config)
    return SplitAssignment(splits, int(crosses.sum()), int(dropped.sum()))


def _assign_missing(splits: NDArray[np.object_], groups: Groups, config: SplitConfig) -> None:
    """Assign a missing validation or test split from the training split, in place, by whole groups."""
    for missing, share in (("test", config.test), ("validation", config.validation)):
        if (splits == missing).any():
            continue
        training = np.unique(groups.of_row[splits == "train"])
        training = training[~groups.conflict[training]]
        chosen = training[_partition(groups, training, [1 - share, share]) == 1]
        splits[np.isin(groups.of_row, chosen) & (splits == "train")] = missing


def _assign_unsplit(splits: NDArray[np.object_], table: pd.DataFrame, groups: Groups, config: SplitConfig) -> None:
    """Assign the images of sources without splits, in place, by whole groups; a conflict goes to training, and a
    group that another source's splits hold too stays with its training images or is not used.
    """
    has_shipped_split = table["shipped_split"].notna()
    unsplit = ~has_shipped_split.groupby(table["source"]).transform("any").to_numpy(dtype=bool)
    if not unsplit.any():
        return
    elsewhere = np.bincount(groups.of_row, ~unsplit, len(groups)) > 0
    trained = np.bincount(groups.of_row, splits == "train", len(groups)) > 0
    choice = np.where(elsewhere & ~trained, UNUSED, "train").astype(object)
    rest = np.unique(groups.of_row[unsplit & ~(elsewhere | groups.conflict)[groups.of_row]])
    choice[rest] = np.array(SPLITS, dtype=object)[
        _partition(groups, rest, [config.train, config.validation, config.test])
    ]
    splits[unsplit] = choice[groups.of_row[unsplit]]


def _check_classes(labels: NDArray, splits: NDArray[np.object_], config: SplitConfig) -> None:
    for split in SPLITS:
        present = len(np.unique(labels[splits == split]))
        if present < 2:
            raise DataError(
                f"the {split} split has images of {'one class only' if present else 'neither class'} "
                f"(dataset.split.method={config.method}); add images or choose another split"
            )
