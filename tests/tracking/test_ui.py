"""`python -m src.ui` serves MLflow's UI on the store of the runs, and leads to the table of scores."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from src.config import PROJECT_ROOT
from src.tracking.store import SCORES_TAG
from tests.tracking.conftest import START_SECONDS, TrackingServer, free_port

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.integration
def test_the_ui_answers_on_the_store_with_its_table_of_scores(empty_store: Path, tmp_path: Path) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    arguments = ["--port", str(free_port()), "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    with subprocess.Popen(
        [sys.executable, "-m", "src.ui", *arguments],
        cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert f"sqlite:///{tmp_path}/mlflow.db" in process.stdout.readline()
            link = re.fullmatch(r"  happy-sad: (http://127.0.0.1:\d+)/#/experiments/(\d+)/runs\?(\S+)\n",
                                process.stdout.readline())  # fmt: skip
            assert link is not None
            assert "viewStateShareKey=scores" in link[3]
            address = f"{link[1]}/api/2.0/mlflow/experiments/get?experiment_id={link[2]}"
            tags = {tag["key"]: tag["value"] for tag in _asked(address)["experiment"]["tags"]}
            assert '"metrics.`test/accuracy`", "metrics.`test/accuracy_low`"' in tags[SCORES_TAG]
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def _asked(address: str) -> dict[str, dict[str, list[dict[str, str]]]]:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            answer = requests.get(address, timeout=5)
            answer.raise_for_status()
            return answer.json()  # type: ignore[no-any-return]
        except requests.RequestException:
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.mark.integration
def test_a_server_has_a_ui_already_and_is_only_named(server: TrackingServer, run_command: Run) -> None:
    said = run_command("src.ui", MLFLOW_TRACKING_URI=server.uri)
    assert said.returncode == 0, said.stderr
    assert re.search(rf"happy-sad: {server.uri}/#/experiments/\d+/runs\?\S*viewStateShareKey=scores", said.stdout)


def test_a_port_that_is_taken_is_one_line(run_command: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = run_command("src.ui", "--port", str(taken.getsockname()[1]))
    assert (said.returncode, said.stdout) == (2, "")
    assert re.fullmatch(r"error: --port \d+: Address already in use; name another one\n", said.stderr)
