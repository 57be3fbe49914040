"""Preparation without training: what the data set holds, its report, and images shared with another data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ..config import DatasetConfig, PrepareConfig, output_folder, project_path
from ..config.identity import Request
from ..data.duplicates import connected_groups, equal_pairs, lookalike_pairs
from ..data.prepared import PreparedDataset, copy_rejected, prepare
from ..data.samples import VERDICT_MEANINGS
from ..data.splits import UNUSED
from ..data.store import disk_errors
from .data_report import write_report
from .pages import Thumbnail, render, thumbnail, write_page

PAGE = "leak_check.html"
_MAX_GROUPS = 80
_MAX_OF_A_SIDE = 4


@dataclass(frozen=True)
class LeakCheck:
    """The images that two data sets share. Each of `shared` is a group of look-alikes, as rows of either set."""

    first: PreparedDataset
    second: PreparedDataset
    shared: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    same_files: int
    """Images of the second set of which the first holds the very same file."""

    @property
    def names(self) -> tuple[str, str]:
        """The names of the two sets, numbered where both have one name."""
        first, second = self.first.name, self.second.name
        return (first, second) if first != second else (f"the first {first}", f"the second {second}")

    @property
    def leaked(self) -> tuple[int, int]:
        """Images of the first set and of the second that look like one of the other."""
        return sum(len(rows) for rows, _ in self.shared), sum(len(rows) for _, rows in self.shared)

    @property
    def other_labels(self) -> int:
        """Shared groups in which the two sets do not agree on one label."""
        return sum(self.disagrees(left, right) for left, right in self.shared)

    def disagrees(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> bool:
        """Return whether rows `left` of the first set and `right` of the second carry two labels."""
        first, second = self.first.table["label"].to_numpy(), self.second.table["label"].to_numpy()
        return len({*first[left], *second[right]}) > 1


def check_leaks(first: PreparedDataset, second: PreparedDataset, config: DatasetConfig) -> LeakCheck:
    """Compare two sets that were prepared at one size, by the rules of `config`; the largest groups come first."""
    both = pd.concat([first.table, second.table], ignore_index=True)
    alike = [equal_pairs(both["pixel_digest"].to_numpy(dtype=str)), equal_pairs(both["sha256"].to_numpy(dtype=str))]
    features = pd.concat([first.features, second.features], ignore_index=True)
    alike.append(lookalike_pairs(both.join(features), config))
    left, right = (np.concatenate([pairs[side] for pairs in alike]) for side in (0, 1))
    groups = connected_groups(len(both), (left, right))
    count = len(first.table)
    common = np.intersect1d(groups[:count], groups[count:])
    members = [np.flatnonzero(groups == group) for group in common]
    members.sort(key=len, reverse=True)
    shared = [(rows[rows < count], rows[rows >= count] - count) for rows in members]
    same_files = int(second.table["sha256"].isin(first.table["sha256"]).sum())
    return LeakCheck(first, second, shared, same_files)


def write_leak_page(check: LeakCheck, folder: Path) -> Path:
    """Write the check as one self-contained page with thumbnails into `folder`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    first, second = check.first, check.second
    strips = [
        {
            "first": [_shown(first, row) for row in left[:_MAX_OF_A_SIDE]],
            "second": [_shown(second, row) for row in right[:_MAX_OF_A_SIDE]],
            "conflict": check.disagrees(left, right),
        }
        for left, right in check.shared[:_MAX_GROUPS]
    ]
    write_page(folder / PAGE, render("leak_check.html", check=check, strips=strips))
    return folder / PAGE


def _shown(dataset: PreparedDataset, row: int) -> Thumbnail:
    path, label = dataset.table["path"].iloc[row], int(dataset.table["label"].iloc[row])
    caption = f"{dataset.name}: {path} · {dataset.class_names[label]}"
    return thumbnail(dataset.images[row], caption, "positive" if label else "negative")


def prepare_and_report(config: PrepareConfig, _: Request | None = None) -> PreparedDataset:
    """Prepare `config.dataset`, say what it holds, and write the report. Raises DataError."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    folder = output_folder(str(project_path(config.output) / config.dataset.name))
    quarantine = None if config.quarantine is None else output_folder(config.quarantine, "quarantine")
    dataset = prepare(config.dataset)
    _print_summary(dataset, config.dataset, console)
    with disk_errors(folder, "output"):
        report = write_report(dataset, config.dataset, folder)
        for warning in report.warnings:
            console.print(warning, style="yellow")
        console.print(f"report: {report.page}")
        if quarantine is not None:
            count = copy_rejected(dataset, config.dataset, quarantine)
            console.print(f"{count:,} rejected files copied to {quarantine}")
        if config.leak_check is not None:
            _check_leaks(dataset, config, folder, console)
    return dataset


def _print_summary(dataset: PreparedDataset, config: DatasetConfig, console: Console) -> None:

    negative, positive = dataset.class_names
    table = Table("split", positive, negative, "groups", "digest", title=f"{dataset.name}, digest {dataset.digest}")
    for split in (*dataset.split_digests, UNUSED):
        held = dataset.table[dataset.table["split"] == split]
        if split == UNUSED and held.empty:
            continue
        count, digest = int(held["label"].sum()), dataset.split_digests.get(split, "")
        table.add_row(split, f"{count:,}", f"{len(held) - count:,}", f"{held['group'].nunique():,}", digest)
    console.print(table)
    verdicts = dataset.rejected["verdict"].value_counts()
    reasons = ", ".join(
        f"{count:,} {VERDICT_MEANINGS[str(verdict)]} ({verdict})" for verdict, count in verdicts.items()
    )
    limited = f"; dataset.limit={config.limit} looks at no more" if config.limit else ""
    console.print(f"{len(dataset.table):,} images used; rejected: {reasons or 'none'}{limited}")
    several = dataset.table["group"].value_counts()
    grouped = f"{int((several > 1).sum()):,}"
    console.print(f"groups of near-duplicates or of one person, each kept in one split: {grouped}")
    if dataset.ignored:
        console.print(f"neither class: {', '.join(f'{name} ({count:,})' for name, count in dataset.ignored.items())}")
    if dataset.auxiliary is not None:
        trained, total = len(dataset.auxiliary.rows), len(dataset.auxiliary.table)
        classes = ", ".join(dataset.auxiliary.classes)
        console.print(f"auxiliary head: {classes}; {trained:,} of {total:,} images of neither class are trained on")
    if dataset.crossing_groups:
        console.print(
            f"{dataset.crossing_groups:,} groups cross the splits that the data ships; "
            f"{dataset.dropped_crossing:,} images not used"
        )


def _check_leaks(dataset: PreparedDataset, config: PrepareConfig, folder: Path, console: Console) -> None:

    assert config.leak_check is not None  # noqa: S101  (for the type checker)
    other = prepare(replace(config.leak_check, image_size=config.dataset.image_size, fit=config.dataset.fit))
    check = check_leaks(dataset, other, config.dataset)
    (first, second), (first_name, second_name) = check.leaked, check.names
    console.print(
        f"leak check: groups of near-duplicates in both: {len(check.shared):,}; images in them: {first:,} of "
        f"{len(dataset.table):,} of {first_name}, {second:,} of {len(other.table):,} of {second_name}; the very same "
        f"file: {check.same_files:,}; groups whose labels differ: {check.other_labels:,}"
    )
    if check.shared:
        console.print(
            "warning: a model trained on one of them cannot be evaluated on the other as it is", style="yellow"
        )
    console.print(f"thumbnails: {write_leak_page(check, folder)}")
