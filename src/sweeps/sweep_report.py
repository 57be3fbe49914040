"""What a finished sweep leaves on its parent run: a table of its jobs and the comparison of their models."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..config import CompareConfig
from ..errors import TrackingError
from ..reports.pages import markdown_table
from .jobs import Job, Outcome, shared_overrides
from .parent import Parent

SCORES = ("validation/accuracy", "test/accuracy", "test/accuracy_low", "test/accuracy_high")


def report(jobs: Sequence[Job], outcomes: Mapping[int, Outcome], parent: Parent | None, folder: Path) -> None:
    """Write the table and the comparison page to `folder` and add them to the parent run."""
    pages = folder / "report"
    shutil.rmtree(pages, ignore_errors=True)
    pages.mkdir(parents=True)
    table = jobs_table(jobs, outcomes)
    table.to_csv(pages / "jobs.csv", index=False)
    (pages / "jobs.md").write_text(markdown(table))
    if parent is None:
        return
    evaluated = [
        outcome.run_id for outcome in outcomes.values() if "test/accuracy" in outcome.scores and outcome.run_id
    ]
    if len(evaluated) > 1:
        _compare(evaluated, parent, pages)
    parent.log_metrics(_totals(table))
    parent.note(f"`{parent.command}`\n\n{markdown(table)}")
    parent.log_folder(pages)


def jobs_table(jobs: Sequence[Job], outcomes: Mapping[int, Outcome]) -> pd.DataFrame:
    """One row for each job: a column for each override that differs, status, seconds, scores, run and reason."""
    shared = shared_overrides(jobs)
    rows = []
    for job in jobs:
        outcome = outcomes.get(job.number, Outcome("killed", reason="not started"))
        own = dict(override.split("=", 1) for override in job.overrides if override not in shared and "=" in override)
        scores = {name: outcome.scores.get(name) for name in SCORES}
        facts = {"status": outcome.status, "seconds": round(outcome.seconds, 1), **scores}
        rows.append({**own, **facts, "run": outcome.run_id, "reason": outcome.reason})
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The table in Markdown, numbers with four digits, nothing where there is no value."""
    shown = table.drop(columns=["run", "reason"]).dropna(axis="columns", how="all")
    cells = shown.map(lambda value: f"{value:.4g}" if isinstance(value, float) else str(value)).mask(shown.isna(), "")
    return markdown_table(list(shown.columns), cells.to_numpy().tolist())


def _totals(table: pd.DataFrame) -> dict[str, float]:
    counts = table["status"].value_counts()
    return {f"sweep/{status}": float(count) for status, count in counts.items()}


def _compare(run_ids: Sequence[str], parent: Parent, folder: Path) -> None:
    from ..compare import compare_runs

    quoted = ", ".join(f"'{run_id}'" for run_id in run_ids)
    query = f"attributes.run_id IN ({quoted})"
    config = CompareConfig(parent.tracking, filter=query, output=str(folder), log=False)
    try:
        compare_runs(config)
    except TrackingError as error:
        print(f"no comparison page: {error}")
