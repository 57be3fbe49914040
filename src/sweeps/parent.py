"""Run of a sweep in MLflow, above one child run for each job, and its report."""

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

    def __init__(self, mlflow: ModuleType, tracking: TrackingConfig, run_id: str, command: str) -> None:
        self.calls = mlflow.MlflowClient()
        self.tracking, self.id, self.command = tracking, run_id, command

    @property
    def client(self) -> Any:
        """Return MLflow's client, once the store answers."""
        check_server(self.tracking, patient=True)
        return self.calls

    def children(self, status: str) -> dict[str, str]:
        """Return the run ids of the children with an MLflow `status`, by the digest of their config."""
        experiment = self.client.get_run(self.id).info.experiment_id
        query = f"tags.`{PARENT_TAG}` = '{self.id}' AND attributes.status = '{status}'"
        found = self.client.search_runs([experiment], query, max_results=1000)
        return {run.data.tags.get(DIGEST_TAG, ""): run.info.run_id for run in found}

    def outcome(self, run_id: str) -> Outcome:
        """Return the recorded outcome of a child that finished."""
        run = self.client.get_run(run_id)
        seconds = (run.info.end_time - run.info.start_time) / 1000
        digest = run.data.tags.get("weights.sha256", "")
        return Outcome("finished", seconds, run_id=run_id, weights_digest=digest, scores=run.data.metrics)

    def failure(self, run_id: str) -> str:
        """Return the recorded reason of a child that failed."""
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

    def record(self, folder: Path, metrics: Mapping[str, float], note: str, tags: Mapping[str, str]) -> None:
        """Log the files of `folder`, metrics, tags and `note`, the description at the top of the run's page."""
        for key, value in {**tags, NOTE_TAG: note}.items():
            self.client.set_tag(self.id, key, value)
        for key, number in metrics.items():
            self.client.log_metric(self.id, key, number)
        self.client.log_artifacts(self.id, str(folder))

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.id, status)


def open_parent(
    tracking: TrackingConfig,
    role: str,
    name: str,
    digest: str,
    *,
    command: str,
    params: Mapping[str, Sequence[str]],
    resume: bool,
) -> Parent | None:
    """Open the run of the sweep with this `digest`: MLFLOW_RUN_ID's, with `resume` the newest one, else a new one.

    `params` has the values of all jobs, by the names that they have in the jobs' own runs. Return None with
    tracking=off. Children that a dead process left running below a resumed sweep are closed first.
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
            parent = Parent(mlflow, tracking, run.info.run_id, command)
            parent.close_lost("KILLED", "its sweep was ended from outside", wait=10)
            return parent
    tags = {ROLE_TAG: role, SWEEP_TAG: digest, "command": command}
    run_id = given or client.create_run(experiment, run_name=name, tags=tags).info.run_id
    parent = Parent(mlflow, tracking, run_id, command)
    for key, values in params.items():
        client.log_param(run_id, key, ", ".join(dict.fromkeys(values)))
    if given:
        client.update_run(given, status="RUNNING")
        for key, value in tags.items():
            client.set_tag(given, key, value)
    return parent


def report(jobs: Sequence[Job], outcomes: Mapping[int, Outcome], parent: Parent | None, folder: Path) -> None:
    """Write the table of jobs and the comparison page to `folder`/report and log them to the parent run."""
    pages = folder / "report"
    pages.mkdir(parents=True, exist_ok=True)
    table = jobs_table(jobs, outcomes)
    table.to_csv(pages / "jobs.csv", index=False)
    (pages / "jobs.md").write_text(markdown(table))
    if parent is None:
        return
    evaluated = [each.run_id for each in outcomes.values() if "test/accuracy" in each.scores and each.run_id]
    if len(evaluated) > 1:
        _compare(evaluated, parent, pages)
    totals = {f"sweep/{status}": float(count) for status, count in table["status"].value_counts().items()}
    parent.record(pages, totals, f"`{parent.command}`\n\n{markdown(table)}", tags={})


def jobs_table(jobs: Sequence[Job], outcomes: Mapping[int, Outcome]) -> pd.DataFrame:
    """Return one row for each job: a column for each override that differs, status, seconds, scores, run and reason."""
    shared = shared_overrides(jobs)
    rows = []
    for job in jobs:
        outcome = outcomes.get(job.number, Outcome("killed", reason="not started"))
        own = [override for override in job.request.overrides if override not in shared and "=" in override]
        scores = {name: outcome.scores.get(name) for name in SCORES}
        facts = {"status": outcome.status, "seconds": round(outcome.seconds, 1), **scores}
        rows.append(
            {**dict(each.split("=", 1) for each in own), **facts, "run": outcome.run_id, "reason": outcome.reason}
        )
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """Return the table in Markdown, numbers with four digits, nothing where there is no value."""
    shown = table.drop(columns=["run", "reason"]).dropna(axis="columns", how="all")
    cells = shown.map(lambda value: f"{value:.4g}" if isinstance(value, float) else str(value)).mask(shown.isna(), "")
    return markdown_table(list(shown.columns), cells.to_numpy().tolist())


def _compare(run_ids: Sequence[str], parent: Parent, folder: Path) -> None:
    from ..comparison.run_comparison import compare_runs

    quoted = ", ".join(f"'{run_id}'" for run_id in run_ids)
    config = CompareConfig(parent.tracking, filter=f"attributes.run_id IN ({quoted})", output=str(folder), log=False)
    try:
        compare_runs(config)
    except TrackingError as error:
        print(f"no comparison page: {error}")
