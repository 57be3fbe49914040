"""Reading runs back: which there are, what they recorded, and their artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from src.config import TrackingConfig, suggest
from src.errors import TrackingError
from src.tracking.store import tracking_uri

if TYPE_CHECKING:
    import pandas as pd

ROLE_TAG = "role"
PAGE = 1000


@dataclass(frozen=True)
class RecordedRun:
    """One finished run: its flat params as text, last metrics and tags; `started` in milliseconds since 1970."""

    id: str
    name: str
    started: int
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    artifact_uri: str


def find_runs(config: TrackingConfig, query: str = "") -> list[RecordedRun]:
    """The finished training runs of `config.experiment`, newest first, that match `query` in MLflow's own language.

    Runs with a role (an evaluation, a comparison) are left out. Raises TrackingError for a query that MLflow refuses
    or an experiment that is not there.
    """
    mlflow, experiment_id = open_experiment(config)
    client = mlflow.MlflowClient()
    wanted = f"attributes.status = 'FINISHED'{' AND ' + query if query else ''}"
    runs: list[RecordedRun] = []
    token: str | None = None
    while token != "":
        try:
            page = client.search_runs([experiment_id], wanted, max_results=PAGE, page_token=token)
        except mlflow.MlflowException as error:
            raise TrackingError(f"filter={query}: {str(error).splitlines()[0]}") from error
        runs += [_recorded(run) for run in page if ROLE_TAG not in run.data.tags]
        token = page.token or ""
    return runs


def read_table(run: RecordedRun, name: str) -> pd.DataFrame | None:
    """The run's Parquet artifact `name`, None where it has none."""
    import mlflow
    import pandas as pd

    try:
        path = mlflow.artifacts.download_artifacts(artifact_uri=f"{run.artifact_uri}/{name}")
    except (mlflow.MlflowException, OSError):
        return None
    return pd.read_parquet(path)


def metric_history(run: RecordedRun, name: str) -> list[float]:
    """A metric's values by step, in order; empty where it was not recorded."""
    import mlflow

    history = mlflow.MlflowClient().get_metric_history(run.id, name)
    return [metric.value for metric in sorted(history, key=lambda metric: (metric.step, metric.timestamp))]


def open_experiment(config: TrackingConfig) -> tuple[ModuleType, str]:
    """The `mlflow` module, pointed at the store, and the experiment's id; unlike `open_store` this makes nothing.

    Raises TrackingError where the store or the experiment is not there.
    """
    if config.name == "off":
        raise TrackingError("tracking=off keeps no runs to read; use tracking=local or tracking=server")
    uri = tracking_uri(config)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise TrackingError(
            f"{uri}: no runs are recorded there yet; train one, or name another store with tracking.uri="
        )
    import mlflow

    mlflow.set_tracking_uri(uri)
    try:
        experiment = mlflow.get_experiment_by_name(config.experiment)
        known = [found.name for found in mlflow.search_experiments()] if experiment is None else []
    except mlflow.MlflowException as error:
        raise TrackingError(f"the tracking store {uri} cannot be read: {str(error).splitlines()[0]}") from error
    if experiment is None:
        hint = suggest(config.experiment, known) or f"; there are {', '.join(known)}"
        raise TrackingError(f"tracking.experiment={config.experiment}: no such experiment in {uri}{hint}")
    return mlflow, experiment.experiment_id


def _recorded(run) -> RecordedRun:  # type: ignore[no-untyped-def] # mlflow.entities.Run, whose import is late
    data, info = run.data, run.info
    return RecordedRun(
        id=info.run_id,
        name=info.run_name,
        started=info.start_time,
        params=data.params,
        metrics=data.metrics,
        tags=data.tags,
        artifact_uri=info.artifact_uri,
    )


def log_report(config: TrackingConfig, role: str, folder: Path) -> str:
    """Record a folder's files as a run of its own, which `find_runs` leaves out; returns the run's id."""
    mlflow, experiment_id = open_experiment(config)
    with mlflow.start_run(experiment_id=experiment_id, run_name=role, tags={ROLE_TAG: role}) as run:
        mlflow.log_artifacts(str(folder))
    return str(run.info.run_id)
