"""What all tests share: small configs, a private store and a private cache, so that no test sees the user's runs."""

from __future__ import annotations

import logging.config
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from src.config import PROJECT_ROOT, Config
from src.search import session
from tests.composing import TINY, compose_config, private_places

for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):  # the user's own
    os.environ.pop(name, None)

pytest_plugins = ["tests.trained_model"]


@pytest.fixture(scope="session", autouse=True)
def no_handler_closes_what_pytest_captures() -> None:
    """absl, imported with Keras, keeps what was standard error then; Hydra's logging set-up would close it as a file
    once a test has another one. Setting logging up while both are the same leaves nothing to close.
    """
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its schema and no runs; making one takes seconds, copying it none."""
    import mlflow

    database = tmp_path_factory.mktemp("empty_store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{database}").search_experiments()
    return database


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
    """Run a command of ours as a user would, in a process of its own."""

    def run(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=PROJECT_ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
