"""A local store: one SQLite file, made whole or not at all."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import re
import shlex
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TextIO
from urllib.parse import quote, unquote, urlsplit

from filelock import FileLock

from ..config import PROJECT_ROOT, TrackingConfig, shell_command
from ..errors import TrackingError

SQLITE = "sqlite:///"


def check_folder(uri: str) -> None:
    """A SQLite store needs a folder that can be written: say so before MLflow retries for half a minute."""
    if not uri.startswith(SQLITE):
        return
    database = Path(uri.removeprefix(SQLITE))
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingError(f"{database.parent}: {error.strerror}; name another store with tracking.uri=") from error
    target = database if database.exists() else database.parent
    if not os.access(target, os.W_OK) or not os.access(database.parent, os.W_OK):
        raise TrackingError(
            f"{target} is read-only, so no run can be recorded there; make it writable, "
            "name another store with tracking.uri=sqlite:////path/mlflow.db, or use tracking=off"
        )


@functools.cache
def check_database(database: Path) -> None:
    """Raise TrackingError for a SQLite file that is damaged, or none: before MLflow fails in it, and before figures are
    drawn from it. A file that is not there yet is fine; one that is whole is read once in a process.
    """
    if not database.exists():
        return
    if not database.is_file():
        raise TrackingError(f"{database}: is no file; name another store with tracking.uri=")
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:  # read-only, it checks no CHECK
            ((found,), *_) = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.OperationalError:  # locked, or not to be opened: whoever uses it says so
        return
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise TrackingError(
            f"{database}: is damaged ({' '.join(found.split())}); put a backup in its place, or what sqlite3 "
            f"{shlex.quote(str(database))} .recover still finds, or name another store with tracking.uri="
        )


def check_experiment(config: TrackingConfig) -> None:
    """Raise TrackingError for an experiment of a SQLite store to which no run can be added: it was deleted, or its
    artifacts are elsewhere.
    """
    database = Path(tracking_uri(config).removeprefix(SQLITE))
    check_database(database)
    if not _is_whole(database):
        return
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        query = "SELECT lifecycle_stage, artifact_location FROM experiments WHERE name = ?"
        found = connection.execute(query, (config.experiment,)).fetchone()
    if found is None:
        return
    if found[0] != "active":
        raise TrackingError(
            f"tracking.experiment={config.experiment}: was deleted; name another, or restore it with mlflow "
            "experiments restore"
        )
    check_artifacts(config, found[1])


def check_artifacts(config: TrackingConfig, location: str | None) -> None:
    """Raise TrackingError where a store that nobody named, `mlruns` of this folder, sends artifacts out of its folder:
    it may be a stranger's.
    """
    database = Path(tracking_uri(config).removeprefix(SQLITE))
    if config.uri is not None or not location:
        return
    path = Path(unquote(urlsplit(location).path)).resolve()
    if urlsplit(location).scheme not in ("", "file") or not path.is_relative_to(database.parent.resolve()):
        raise TrackingError(
            f"{database}: keeps the artifacts of its runs in {location}, outside of its folder; if it was moved, "
            f"{shell_command('relocate')} {shlex.quote(str(database))} mends it; to keep them there, name the store: "
            f"{shlex.quote(f'tracking.uri={SQLITE}{database}')}"
        )


def create_database(uri: str) -> None:
    """Make a SQLite store whole or not at all: under a lock, in a temporary file that is renamed.

    MLflow's own way leaves a database without use where two processes make it at once, or one is interrupted. Such a
    file, which holds no run, is put aside.
    """
    database = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or _is_whole(database):
        return
    from mlflow import MlflowClient

    with FileLock(database.with_name(f".{database.name}.lock")):
        if _is_whole(database):
            return
        if database.exists():
            os.replace(database, database.with_name(f"{database.name}.incomplete"))
            print(f"{database} was never completed and holds no run; a new one is made, the old one is kept beside it")
        with tempfile.TemporaryDirectory(dir=database.parent, prefix=".making-") as temporary:
            partial = Path(temporary) / database.name
            MlflowClient(f"sqlite:///{partial}").search_experiments()
            os.replace(partial, database)


def _is_whole(database: Path) -> bool:
    """Return whether the file is a database that MLflow finished, or one that holds runs, of whatever version."""
    if not database.exists():
        return False
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        try:
            if connection.execute("SELECT count(*) FROM runs").fetchone()[0]:
                return True
            return bool(connection.execute("SELECT count(*) FROM experiments").fetchone()[0])
        except sqlite3.OperationalError as error:
            return "no such table" not in str(error)


STORE = PROJECT_ROOT / "mlruns"
GIVEN_STORE, GIVEN_RUN = "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"
DIGEST_TAG, PARENT_TAG, JOB_TAG = "config.digest", "mlflow.parentRunId", "sweep.job"
DATA_TAG = "data"  # `data.validation` and so on: the digest of the images of that part
ANSWER_SECONDS = 10
SWEEP_PATIENCE_SECONDS = 300.0
# A server that is away is noticed in seconds, not in the minutes that MLflow's own settings take.
REQUESTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # its line at the end of each run; ours says where that is
}
# A view of the UI's table of runs, at /#/experiments/ID/runs?SCORES_QUERY: the score that counts first. Sorted by
# validation, which folds no sweep away and tempts nobody to choose on test.
SCORES_TAG, SCORES_QUERY = "mlflow.sharedViewState.scores", "workflowType=machine_learning&viewStateShareKey=scores"
SHOWN_SCORES = ("test/accuracy", "test/accuracy_low", "test/accuracy_high", "validation/accuracy")
SCORES_VIEW = json.dumps(
    {
        "selectedColumns": [f"metrics.`{name}`" for name in SHOWN_SCORES],
        "orderByKey": "metrics.`validation/accuracy`",
        "orderByAsc": False,
    }
)
MODEL_TRAINING = {
    # Without it the UI takes an experiment for one about language models.
    "mlflow.experimentKind": "custom_model_development",
    SCORES_TAG: SCORES_VIEW,
}


def tracking_uri(config: TrackingConfig) -> str:
    """The absolute tracking URI of `config`; the project's own SQLite store where it names none.

    The path of a SQLite store counts from the working directory.
    """
    uri = config.uri or f"{SQLITE}{STORE / 'mlflow.db'}"
    return f"{SQLITE}{os.path.abspath(uri.removeprefix(SQLITE))}" if uri.startswith(SQLITE) else uri


def checked_id(run_id: str) -> str:
    """The id of a run as a store gives it; it names folders here. Raises TrackingError for one that leads elsewhere."""
    if not re.fullmatch(r"[\w-]+", run_id):
        raise TrackingError(f"the tracking store names a run {run_id!r}, which no folder can be named by")
    return run_id


def say_store(config: TrackingConfig, file: TextIO | None = None) -> None:
    """One line on `file` (stdout where None) that says which store is used; none with `off`."""
    if config.name != "off":
        uri = tracking_uri(config)
        given = f" (from {GIVEN_STORE})" if config.uri and os.environ.get(GIVEN_STORE) == config.uri else ""
        print(f"runs: experiment {config.experiment} in {uri}{given}", file=file or sys.stdout, flush=True)


def is_server(uri: str) -> bool:
    """Return whether `uri` is a tracking server's, rather than a database's."""
    return uri.startswith(("http://", "https://"))


def unsent_root(config: TrackingConfig) -> Path:
    """Folder of the runs that the store does not have yet: beside a SQLite store, else below `mlruns`."""
    return _beside(config) / "unsent"


def checkpoints_root(config: TrackingConfig) -> Path:
    """Folder of the state of unfinished runs."""
    return _beside(config) / "checkpoints"


def _beside(config: TrackingConfig) -> Path:
    database = tracking_uri(config).removeprefix(SQLITE)
    return STORE if database == tracking_uri(config) else Path(database).parent


def folder_name(experiment: str) -> str:
    """The folder of an experiment below `artifact_root`, as MLflow's addresses have it."""
    return quote(experiment, safe=" ")


def artifact_root(config: TrackingConfig) -> str | None:
    """Root of the artifacts: beside a SQLite store; None where a server decides."""
    database = tracking_uri(config).removeprefix(SQLITE)
    if database == tracking_uri(config):
        return None
    return (Path(database).parent / "artifacts").as_uri()


def check_store(config: TrackingConfig, *, patient: bool = False) -> None:
    """Raise TrackingError now, before hours of work, where runs cannot be recorded; nothing to check with `off`.

    A SQLite store is only looked at, without importing MLflow; a server or another database is asked, and a store
    whose run MLFLOW_RUN_ID names.
    """
    if config.name == "off":
        return
    if find_spec("mlflow") is None:
        raise TrackingError("recording runs needs mlflow: pip install mlflow, or use tracking=off with output=FOLDER")
    uri = tracking_uri(config)
    if not uri.startswith(SQLITE) or (os.environ.get(GIVEN_RUN) and not patient):
        check_given_run(open_store(config, patient=patient), config)
        return
    check_folder(uri)
    check_experiment(config)


def check_given_run(mlflow: ModuleType, config: TrackingConfig) -> str | None:
    """The id in MLFLOW_RUN_ID; None without one. Raises TrackingError for a run that is not in the experiment."""
    given = os.environ.get(GIVEN_RUN)
    if not given:
        return None
    client = mlflow.MlflowClient()
    try:
        experiment = client.get_experiment(client.get_run(given).info.experiment_id).name
    except mlflow.MlflowException as error:
        raise TrackingError(f"{GIVEN_RUN}={given}: {first_line(error)}") from error
    if experiment != config.experiment:
        raise TrackingError(
            f"{GIVEN_RUN}={given}: is a run of tracking.experiment={experiment}, not {config.experiment}"
        )
    return given


def check_server(config: TrackingConfig, *, patient: bool = False) -> None:
    """Raise TrackingError where runs belong on a server and nothing answers there.

    Call it before MLflow is imported, which would try again and again. With `patient`, as what belongs to a sweep,
    wait for five minutes, so that a sweep outlives a restart of its server.
    """
    uri = tracking_uri(config)
    if not is_server(uri):
        return
    for name, value in REQUESTS.items():
        os.environ.setdefault(name, value)
    deadline = time.monotonic() + (SWEEP_PATIENCE_SECONDS if patient else 0.0)
    while reason := _silence(uri):
        if time.monotonic() >= deadline:
            raise TrackingError(
                f"tracking.uri={uri}: {reason}; start an MLflow server there, name another, or use "
                "tracking=local or tracking=off"
            )
        time.sleep(1)


def _silence(uri: str) -> str:
    """Why nothing answers at `uri`; empty where something does."""
    import requests

    try:
        requests.head(uri, timeout=ANSWER_SECONDS, allow_redirects=False)
    except requests.exceptions.SSLError:
        return ""  # MLflow has settings of its own for certificates
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout):
        return "nothing answers"
    except (requests.exceptions.RequestException, ValueError) as error:
        return str(error)
    return ""


def open_store(config: TrackingConfig, *, patient: bool = False) -> ModuleType:
    """Import MLflow, point it at the store, select the experiment and return the `mlflow` module.

    The store and the experiment are made where they are missing. Raises TrackingError where it cannot be reached or
    written.
    """
    uri = tracking_uri(config)
    check_folder(uri)
    if uri.startswith(SQLITE):
        check_experiment(config)
    check_server(config, patient=patient)
    # The first use of a store runs its schema migrations, each with a line on stderr.
    for name in ("alembic", "mlflow.tracking.fluent"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # tracebacks of a full or locked database
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    import mlflow

    point_at(mlflow, uri)
    try:
        create_database(uri)
        select_experiment(mlflow, config)
    except store_errors() as error:
        raise TrackingError(
            f"the tracking store {uri} cannot be used: {why_unusable(error, uri)}; name another with tracking.uri=, or "
            "tracking=off"
        ) from error
    return mlflow


def store_errors() -> tuple[type[Exception], ...]:
    """List the errors that MLflow raises where a store is away, locked, full or does not accept something, or where
    what answers is no MLflow server: it takes any JSON for its own.
    """
    import mlflow
    from google.protobuf.json_format import Error as JsonError
    from google.protobuf.message import Error
    from sqlalchemy.exc import SQLAlchemyError

    return (
        mlflow.MlflowException,
        SQLAlchemyError,
        OSError,
        JsonError,
        Error,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    )


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type where it has none."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def why_unusable(error: Exception, uri: str) -> str:
    """State a store's error in one line. MLflow calls a newer store "out-of-date" as well."""
    found = re.search(r"out-of-date database schema \(found version (\w+)", str(error))
    if found is None:
        return first_line(error)
    import mlflow

    known = Path(mlflow.__file__).parent.glob(f"store/db_migrations/versions/{found[1]}_*.py")
    if any(known):
        return f"it was made by an older MLflow than {mlflow.__version__}; keep a copy and run mlflow db upgrade {uri}"
    return f"it was made by a newer MLflow than the {mlflow.__version__} that is installed here; install that one"


def point_at(mlflow: ModuleType, uri: str) -> None:
    """Make `uri` MLflow's store. It would leave it in the environment too, where a later config would find it."""
    given = os.environ.get(GIVEN_STORE)
    mlflow.set_tracking_uri(uri)
    os.environ.pop(GIVEN_STORE, None)
    if given is not None:
        os.environ[GIVEN_STORE] = given


@contextlib.contextmanager
def mlflow_state() -> Iterator[None]:
    """Leave MLflow's own store and experiment as the calling program has set them, which may use its functions beside
    ours. Where it has set none, ours stay, so that they find the run.
    """
    before = (None, None)
    if "mlflow" in sys.modules:
        from mlflow.tracking import fluent
        from mlflow.tracking._tracking_service import utils

        before = utils._tracking_uri, fluent._active_experiment_id
    given = {name: os.environ.get(name) for name in (GIVEN_STORE, "MLFLOW_EXPERIMENT_ID")}
    if not any((*before, *given.values())):
        yield
        return
    try:
        yield
    finally:
        if "mlflow" in sys.modules:
            from mlflow.tracking import fluent
            from mlflow.tracking._tracking_service import utils

            utils._tracking_uri, fluent._active_experiment_id = before  # its functions take no None
        for name, value in given.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def select_experiment(mlflow: ModuleType, config: TrackingConfig) -> None:
    """Make `tracking.experiment` the current experiment, creating it where it is missing."""
    found = mlflow.get_experiment_by_name(config.experiment)
    for key in MODEL_TRAINING.keys() - found.tags.keys() if found else ():
        mlflow.MlflowClient().set_experiment_tag(found.experiment_id, key, MODEL_TRAINING[key])
    if found is None:
        root = artifact_root(config)
        location = f"{root}/{folder_name(config.experiment)}" if root else None
        try:
            mlflow.create_experiment(config.experiment, artifact_location=location, tags=MODEL_TRAINING)
        except mlflow.MlflowException as error:
            # Another process may have made it in the meantime.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    mlflow.set_experiment(config.experiment)
