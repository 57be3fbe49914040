"""Preparation without training: what the data set holds, its report, and images shared with another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ..config import DatasetConfig, PrepareConfig, output_folder, project_path
from ..config.identity import Request
from ..data.prepared import copy_rejected, prepare
from ..data.samples import VERDICT_MEANINGS
from ..data.splits import UNUSED
from ..data.store import disk_errors
from .data_report import write_report
from .leak_check import check_leaks, write_leak_page

if TYPE_CHECKING:
    from rich.console import Console

    from ..data.prepared import PreparedDataset


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
