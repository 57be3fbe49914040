"""The run of the sweep itself, above one child run for each job, and what a finished sweep leaves on it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from ..config import CompareConfig, TrackingConfig
from ..errors import TrackingError
from ..reports.pages import markdown_table
from ..tracking.read import ROLE_TAG
from ..tracking.store import DIGEST_TAG, GIVEN_RUN, PARENT_TAG, check_given_run, check_server, open_store, say_store
from .jobs import Job, Outcome, shared_overrides

SWEEP_TAG = "sweep.digest"
NOTE_TAG = "mlflow.note.content"
SCORES = ("validation/accuracy", "test/accuracy", "test/accuracy_low", "test/accuracy_high")


class Parent:
    """A sweep's run. Raises TrackingError where the store cannot be used."""

    def __init__(self, mlflow: ModuleType, tracking: TrackingConfig, run_id: str, *, resumed: bool) -> None:
        self.calls = mlflow.MlflowClient()
        self.tracking = tracking
        self.id = run_id
        self.resumed = resumed

    @property
    def client(self) -> Any:
        """MLflow's client, once the store answers."""
        check_server(self.tracking, patient=True)
        return self.calls

    @property
    def command(self) -> str:
        """The command that started the sweep."""
        return str(self.client.get_run(self.id).data.tags["command"])

    def children(self, status: str) -> dict[str, str]:
        """The run ids of this sweep's children with an MLflow `status`, by the digest of their config."""
        experiment = self.client.get_run(self.id).info.experiment_id
        query = f"tags.`{PARENT_TAG}` = '{self.id}' AND attributes.status = '{status}'"
        found = self.client.search_runs([experiment], query, max_results=1000)
        return {run.data.tags.get(DIGEST_TAG, ""): run.info.run_id for run in found}

    def outcome(self, run_id: str) -> Outcome:
        """The outcome of a child that finished, read back."""
        run = self.client.get_run(run_id)
        seconds = (run.info.end_time - run.info.start_time) / 1000
        digest = run.data.tags.get("weights.sha256", "")
        return Outcome("finished", seconds, run_id=run_id, weights_digest=digest, scores=run.data.metrics)

    def failure(self, run_id: str) -> str:
        """Why a child failed, as it recorded it."""
        return str(self.client.get_run(run_id).data.tags.get("failure", "no reason recorded"))

    def close_lost(self, status: str, reason: str, digest: str | None = None, wait: float = 0.0) -> None:
        """End children that a dead process left RUNNING (or only the one with `digest`), giving them `wait` seconds."""
        deadline = time.monotonic() + wait
        while lost := {key: run_id for key, run_id in self.children("RUNNING").items() if digest in (None, key)}:
            if time.monotonic() < deadline:
                time.sleep(0.2)
                continue
            for run_id in lost.values():
                self.client.set_tag(run_id, "failure", reason[:5000])
                self.client.set_terminated(run_id, status)

    def note(self, markdown: str) -> None:
        """The description at the top of the sweep's page."""
        self.client.set_tag(self.id, NOTE_TAG, markdown)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self.client.set_tag(self.id, key, value)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        for key, value in metrics.items():
            self.client.log_metric(self.id, key, value)

    def log_folder(self, folder: Path) -> None:
        """Add a folder's files to the sweep's artifacts."""
        self.client.log_artifacts(self.id, str(folder))

    def end(self, status: str) -> None:
        """FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.id, status)


def open_parent(
    tracking: TrackingConfig, role: str, name: str, digest: str, *, command: str, resume: bool
) -> Parent | None:
    """The run of a sweep whose jobs `digest` names: the one that MLFLOW_RUN_ID names; with `resume`, the newest one
    there is; else a new one.

    None where nothing is tracked. What a dead process left running below a resumed sweep is closed first.
    """
    if tracking.name == "off":
        return None
    say_store(tracking)
    mlflow = open_store(tracking)
    experiment = mlflow.get_experiment_by_name(tracking.experiment).experiment_id
    client = mlflow.MlflowClient()
    given = check_given_run(mlflow, tracking)
    if given:
        os.environ.pop(GIVEN_RUN)
    elif resume:
        query = f"tags.`{SWEEP_TAG}` = '{digest}'"
        for run in client.search_runs([experiment], query, max_results=1):
            client.update_run(run.info.run_id, status="RUNNING")
            parent = Parent(mlflow, tracking, run.info.run_id, resumed=True)
            parent.close_lost("KILLED", "its sweep was ended from outside", wait=10)
            return parent
    tags = {ROLE_TAG: role, SWEEP_TAG: digest, "command": command}
    run_id = given or client.create_run(experiment, run_name=name, tags=tags).info.run_id
    parent = Parent(mlflow, tracking, run_id, resumed=False)
    if given:
        client.update_run(given, status="RUNNING")
        parent.set_tags(tags)
    return parent


def report(jobs: Sequence[Job], outcomes: Mapping[int, Outcome], parent: Parent | None, folder: Path) -> None:
    """Write the table and the comparison page to `folder` and add them to the parent run."""
    pages = folder / "report"
    pages.mkdir(parents=True, exist_ok=True)
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
    from ..comparison.run_comparison import compare_runs

    quoted = ", ".join(f"'{run_id}'" for run_id in run_ids)
    query = f"attributes.run_id IN ({quoted})"
    config = CompareConfig(parent.tracking, filter=query, output=str(folder), log=False)
    try:
        compare_runs(config)
    except TrackingError as error:
        print(f"no comparison page: {error}")
