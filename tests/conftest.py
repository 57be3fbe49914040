"""What all tests share: small configs, a private store and a private cache, so that no test sees the user's runs."""

from __future__ import annotations

import logging.config
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

from src.config import Config
from src.search import session
from tests.composing import TINY, compose_config, private_places
from tests.processes import start

for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):  # the user's own
    os.environ.pop(name, None)

pytest_plugins = ["tests.trained_model"]


@pytest.fixture(scope="session", autouse=True)
def no_handler_closes_what_pytest_captures() -> None:
    """absl, imported with Keras, keeps what was standard error then; Hydra's logging set-up would close it as a file
    once a test has another one. Setting logging up while both are the same leaves nothing to close.
    """
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})


Make = Callable[[Path], None]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Make], Path]:
    """Make a folder by its name once for all processes of the session, whichever asks first."""

    def make(name: str, fill: Make) -> Path:
        base = tmp_path_factory.getbasetemp()
        base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
        with FileLock(base / f"{name}.lock"):
            if not (base / f"{name}.made").exists():
                shutil.rmtree(base / name, ignore_errors=True)
                (base / name).mkdir()
                fill(base / name)
                (base / f"{name}.made").touch()
        return base / name

    return make


@pytest.fixture(scope="session")
def empty_store(made_once: Callable[[str, Make], Path]) -> Path:
    """An MLflow database with its schema and no runs; making one takes seconds, copying it none."""

    def fill(folder: Path) -> None:
        import mlflow

        mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()

    return made_once("empty_store", fill) / "mlflow.db"


@pytest.fixture(autouse=True)
def no_precision_is_left_behind() -> Iterator[None]:
    """A run sets Keras's global precision, which would be that of the next test's models."""
    yield
    if keras := sys.modules.get("keras"):
        keras.config.set_dtype_policy("float32")


@pytest.fixture
def sandbox(tmp_path: Path, empty_store: Path) -> list[str]:
    """Overrides that keep a run's store and cache inside the test's folder."""
    return private_places(tmp_path, empty_store)


@pytest.fixture
def make_config(sandbox: list[str]) -> Callable[..., Config]:
    """Compose a config as the command line would, shrunk to seconds."""

    def make(*overrides: str, tiny: bool = True) -> Config:
        return compose_config(*(TINY if tiny else []), *sandbox, *overrides)

    return make


@pytest.fixture
def experiments_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Searches write their experiments into the test's folder; the override with which they are found there."""
    monkeypatch.setattr(session, "EXPERIMENTS", tmp_path / "configs" / "experiment")
    (tmp_path / "configs").mkdir()
    return f"hydra.searchpath=[file://{tmp_path}/configs]"


@pytest.fixture
def alarm() -> Iterator[None]:
    """Ends a test that waits for ever, as whatever opens a FIFO does."""

    def end(*_: object) -> NoReturn:
        raise TimeoutError("a minute is over")

    earlier = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, earlier)


@pytest.fixture
def run_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command of ours as a user would, in a process of its own: `tests/processes.py`."""
    return lambda module, *arguments, **environment: start(module, *arguments, **environment).wait()
