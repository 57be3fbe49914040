"""Reading runs back: which there are, what they recorded, and their artifacts."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ..config import TrackingConfig, shell_command, suggest
from ..errors import TrackingError
from .run_folder import RUN_FILE
from .spool import unsent_folders
from .store import (
    DATA_TAG,
    GIVEN_RUN,
    SQLITE,
    artifact_root,
    check_artifacts,
    check_database,
    check_server,
    checked_id,
    first_line,
    folder_name,
    point_at,
    store_errors,
    tracking_uri,
    unsent_root,
    why_unusable,
)

if TYPE_CHECKING:
    import pandas as pd


ROLE_TAG = "role"
PAGE = 1000
BEST_BY, TIE_BY = "validation/accuracy", "validation/log_loss"
"""The higher the better; of equals the lower, and then the run that was begun first."""
UNSCORED_TRAINERS = ("debug", "overfit")  # they check the training loop; their scores mean nothing


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

    Runs with a role (an evaluation, a comparison) are left out. Raises TrackingError for a query that MLflow rejects
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
        except store_errors() as error:
            raise TrackingError(f"filter={query}: {first_line(error)}") from error
        runs += [_recorded(run) for run in page if ROLE_TAG not in run.data.tags]
        token = page.token or ""
    return runs


def find_run(config: TrackingConfig, which: str, key: str = "run") -> RecordedRun:
    """The run that `which` names: an id, `latest`, `best` (highest validation accuracy, of equals the lowest
    validation log loss, so that test stays unseen; of the runs validated on the same images as the newest one,
    `trainer=debug` and overfit left out; said on stderr), or `models:/name@alias`, `models:/name/version` or
    `models:/m-id`. Raises TrackingError where there is none, which says that `key` named it.
    """
    if which in ("latest", "best"):
        runs = [run for run in find_runs(config) if BEST_BY in run.metrics]  # `trainer=overfit` evaluates nothing
        if which == "best":
            runs = [run for run in runs if _competes(run)]
        if not runs:
            left_out = " (trainer=debug and overfit do not compete)" if which == "best" else ""
            raise TrackingError(
                f"{key}={which}: no finished and evaluated run in experiment {config.experiment}{left_out}"
            )
        return runs[0] if which == "latest" else _best(runs)
    mlflow = connect(config)
    try:
        run_id = mlflow.models.get_model_info(which).run_id if which.startswith("models:/") else which
        return _recorded(mlflow.get_run(run_id))
    except store_errors() as error:
        raise TrackingError(
            f"{key}={which}: {first_line(error)}; accepts a run id, latest, best, models:/NAME@ALIAS or a folder"
        ) from error


def _competes(run: RecordedRun) -> bool:
    overfit = run.params.get("trainer.overfit", "").lower() == "true"
    return not overfit and run.params.get("trainer.name") not in UNSCORED_TRAINERS


def _best(runs: list[RecordedRun]) -> RecordedRun:
    from rich.console import Console

    images = f"{DATA_TAG}.validation"
    comparable = [run for run in runs if run.tags.get(images) == runs[0].tags.get(images)]
    best = min(comparable, key=lambda run: (-run.metrics[BEST_BY], run.metrics.get(TIE_BY, math.inf), run.started))
    others = f"; {len(runs) - len(comparable)} on other images" if len(runs) > len(comparable) else ""
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(
        f"run=best: {best.name}, {BEST_BY} {best.metrics[BEST_BY]:.4f}, the highest of {len(comparable)} runs "
        f"validated on the same images as the newest{others}"
    )
    return best


def artifact(run: RecordedRun, name: str) -> Path | None:
    """A local copy of (or, in a local store, the path to) the run's artifact `name`; None where it has none."""
    return download(f"{run.artifact_uri}/{name}")


def model_folder(run: RecordedRun) -> Path | None:
    """The folder of the model that the run logged; None where it logged none."""
    return download(f"runs:/{run.id}/model")


def read_table(run: RecordedRun, name: str) -> pd.DataFrame | None:
    """The run's artifact `name`, a Parquet or CSV table; None where it has none."""
    import pandas as pd

    from ..data.tables import read_parquet

    path = artifact(run, name)
    if path is None or not path.exists():
        return None
    return pd.read_csv(path) if path.suffix == ".csv" else read_parquet(path)


def download(uri: str, into: Path | None = None) -> Path | None:
    """A copy, in the folder `into`, of what MLflow's `uri` names; None where there is nothing.

    Without `into` a local store gives the path to the thing itself.
    """
    import mlflow

    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(into) if into else None))
    except (mlflow.MlflowException, OSError):
        return None


def metric_history(run: RecordedRun, name: str) -> list[float]:
    """A metric's values by step, in order; empty where it was not recorded."""
    import mlflow

    history = mlflow.MlflowClient().get_metric_history(run.id, name)
    return [metric.value for metric in sorted(history, key=lambda metric: (metric.step, metric.timestamp))]


def connect(config: TrackingConfig) -> ModuleType:
    """The `mlflow` module, pointed at the store; unlike `open_store` this makes nothing.

    Raises TrackingError where the store is not there.
    """
    if config.name == "off":
        raise TrackingError("tracking=off keeps no runs to read; use tracking=local or tracking=server")
    uri = tracking_uri(config)
    check_server(config)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        raise TrackingError(
            f"{uri}: no runs are recorded there yet; train one, or name another store (tracking.uri= or --tracking-uri)"
        )
    if uri.startswith(SQLITE):
        check_database(Path(uri.removeprefix(SQLITE)))
    check_place(config)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    point_at(mlflow, uri)
    return mlflow


def open_experiment(config: TrackingConfig) -> tuple[ModuleType, str]:
    """`connect`, and the experiment's id. Raises TrackingError where the store or the experiment is not there."""
    mlflow, uri = connect(config), tracking_uri(config)
    try:
        experiment = mlflow.get_experiment_by_name(config.experiment)
        known = [found.name for found in mlflow.search_experiments()] if experiment is None else []
    except store_errors() as error:
        raise TrackingError(f"the tracking store {uri} cannot be read: {why_unusable(error, uri)}") from error
    if experiment is None:
        hint = suggest(config.experiment, known) or f"; there are {', '.join(known)}"
        raise TrackingError(f"tracking.experiment={config.experiment}: no such experiment in {uri}{hint}")
    check_artifacts(config, experiment.artifact_location)
    return mlflow, experiment.experiment_id


def _recorded(run) -> RecordedRun:  # type: ignore[no-untyped-def] # mlflow.entities.Run, whose import is late
    data, info = run.data, run.info
    return RecordedRun(
        id=checked_id(info.run_id),
        name=info.run_name,
        started=info.start_time,
        params=data.params,
        metrics=data.metrics,
        tags=data.tags,
        artifact_uri=info.artifact_uri,
    )


def log_report(
    config: TrackingConfig,
    role: str,
    folder: Path,
    *,
    parent: RecordedRun | None = None,
    name: str | None = None,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, str] | None = None,
) -> str:
    """Record a folder's files as a run of its own, below `parent` where given; `find_runs` leaves it out.

    Returns the run's id.
    """
    mlflow, experiment_id = open_experiment(config)
    os.environ.pop(GIVEN_RUN, None)  # which `start_run` would take for the report's own
    with mlflow.start_run(
        experiment_id=experiment_id,
        run_name=name or role,
        parent_run_id=parent.id if parent else None,
        tags={ROLE_TAG: role},
    ) as run:
        mlflow.log_params(dict(params or {}))
        mlflow.log_metrics(dict(metrics or {}))
        mlflow.log_artifacts(str(folder))
    return str(run.info.run_id)


# A local store whose folder was renamed or moved: MLflow keeps absolute paths, which then lead nowhere.
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def check_place(config: TrackingConfig) -> None:
    """Raise TrackingError for a local store whose artifacts are recorded at another place that is not there."""
    if config.name == "off":
        return
    earlier = earlier_root(config)
    if earlier is not None:
        raise TrackingError(
            f"{tracking_uri(config)}: was moved here, and its artifacts are recorded below {_path(earlier)}, which is "
            f"not there; {shell_command('relocate')} {shlex.quote(str(_database(config)))} writes down the new place"
        )


def earlier_root(config: TrackingConfig) -> str | None:
    """The artifact root that a moved store still names; None for a store that is where it was made, or none."""
    root, database = artifact_root(config), _database(config)
    if root is None or not database.exists():
        return None
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        try:
            found = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
        except sqlite3.DatabaseError:
            return None  # not made yet, or locked: whoever opens it says so
    folders = [(location or "", f"/{folder_name(name)}") for name, location in found]
    roots = {location.removesuffix(folder) for location, folder in folders if location.endswith(folder)}
    gone = [each for each in roots - {root} if each.startswith("file:") and not _path(each).exists()]
    return min(gone, default=None)


def relocate(config: TrackingConfig) -> str | None:
    """Write the present place of a moved store's artifacts into it; the root that it named, None where none did."""
    root, earlier = artifact_root(config), earlier_root(config)
    if root is None or earlier is None:
        return None
    with contextlib.closing(sqlite3.connect(_database(config), timeout=30)) as connection, connection:
        for table, column in LOCATIONS:
            known = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            if column in known:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608 - names of ours
                    (root, len(earlier) + 1, len(earlier), earlier),
                )
    before, now = str(_path(earlier).parent), str(_database(config).parent)
    for folder in unsent_folders(unsent_root(config)):
        about = json.loads((folder / RUN_FILE).read_text())
        moved = {key: value.replace(before, now) if isinstance(value, str) else value for key, value in about.items()}
        (folder / RUN_FILE).write_text(json.dumps(moved))
    return earlier


def _database(config: TrackingConfig) -> Path:
    return Path(tracking_uri(config).removeprefix("sqlite:///"))


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))
