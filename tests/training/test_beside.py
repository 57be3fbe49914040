"""A run that a process beside the training records: how it ends, in each way in which the training can end."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from src.config import PROJECT_ROOT, Config
from src.tracking.resuming import close_dead_runs, running
from src.tracking.store import open_store

PROGRAM = """
import os, pickle, sys
from src.training.beside import run_beside, start_ahead
config = pickle.loads(sys.stdin.buffer.read())
start_ahead(config)
with run_beside(config, "beside", {"kind": "test"}) as run:
    run.log_metrics({"fit/loss": 0.5}, step=1)
    run.path("note.txt").write_text("kept")
    run.write("evaluation.artifacts", "write_learning_curves", {"loss": [1.0, 0.5]})
    assert "mlflow" not in sys.modules and "matplotlib" not in sys.modules
    print(run.checkpoint, flush=True)
    BODY
"""

ENDS = {
    "pass": (0, "FINISHED", None),
    "raise ValueError('too bad')": (1, "FAILED", "ValueError: too bad"),
    "raise KeyboardInterrupt": (-2, "KILLED", None),
    "os.kill(os.getpid(), 9)": (-9, "KILLED", "its process ended without a word"),
}


def record(config: Config, body: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.replace("BODY", body)]
    answer = subprocess.run(command, cwd=PROJECT_ROOT, input=pickle.dumps(config), capture_output=True, check=False)
    return subprocess.CompletedProcess(command, answer.returncode, answer.stdout.decode(), answer.stderr.decode())


@pytest.mark.parametrize("body", ENDS)
def test_a_run_ends_as_its_training_does(body: str, make_config: Callable[..., Config]) -> None:
    config, (status, ended, failure) = make_config(), ENDS[body]
    answer = record(config, body)
    assert answer.returncode == status, answer.stderr
    if status == -9:
        deadline = time.monotonic() + 20
        while running(config.tracking) and time.monotonic() < deadline:  # it is still reading what was sent
            time.sleep(0.1)
        assert len(close_dead_runs(config.tracking)) == 1
    mlflow = open_store(config.tracking)
    (run,) = mlflow.search_runs(output_format="list")
    assert run.info.status == ended, answer.stderr
    assert run.data.metrics["fit/loss"] == 0.5
    assert run.data.tags.get("failure") == failure
    artifacts = {item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert artifacts == ({"figures", "note.txt"} if ended == "FINISHED" else set())
    assert Path(answer.stdout.strip()).exists() == (ended != "FINISHED")  # what resume= needs


def test_what_goes_wrong_there_ends_the_training(make_config: Callable[..., Config]) -> None:
    config = make_config()
    answer = record(config, 'run.write("evaluation.artifacts", "no_such_function")\n    run.set_tags({})')
    assert answer.returncode == 1
    assert "no_such_function" in answer.stderr
    (run,) = open_store(config.tracking).search_runs(output_format="list")
    assert run.info.status == "FAILED"


def test_a_store_that_cannot_be_used_is_one_line(make_config: Callable[..., Config]) -> None:
    answer = record(make_config("tracking.uri=sqlite:////proc/nowhere/mlflow.db"), "pass")
    assert answer.returncode == 1
    assert "TrackingError: /proc/nowhere: " in answer.stderr.splitlines()[-1]
