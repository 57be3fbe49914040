"""A local store is made whole or not at all, whoever makes it and whatever interrupts that."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from src.config import PROJECT_ROOT, TrackingConfig
from src.tracking.store import open_store

OPEN = "import sys; from src.config import TrackingConfig; from src.tracking.store import open_store; "
OPEN += "open_store(TrackingConfig('local', uri=sys.argv[1]))"


def opening(uri: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OPEN, uri], cwd=PROJECT_ROOT, stderr=subprocess.PIPE, text=True)


def test_two_first_uses_at_once_both_succeed(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/store/mlflow.db"
    both = [opening(uri), opening(uri)]
    assert [(process.wait(300), process.communicate()[1]) for process in both] == [(0, ""), (0, "")]


def test_a_first_use_that_is_killed_leaves_a_store_that_works(tmp_path: Path) -> None:
    uri, store = f"sqlite:///{tmp_path}/store/mlflow.db", tmp_path / "store"
    process = opening(uri)
    deadline = time.monotonic() + 300
    while not list(store.glob(".making-*/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (store / "mlflow.db").exists()
    assert open_store(TrackingConfig("local", uri=uri)).get_experiment_by_name("happy-sad") is not None


def test_a_store_that_was_never_completed_is_put_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"")  # what an interrupted MLflow leaves: a file without all of its tables
    assert open_store(TrackingConfig("local", uri=f"sqlite:///{tmp_path}/mlflow.db")) is not None
    assert "never completed" in capsys.readouterr().out
    assert (tmp_path / "mlflow.db.incomplete").exists()
