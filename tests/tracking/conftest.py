"""A real MLflow server, on PostgreSQL where that is installed, that a test can stop, kill and bring back."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

START_SECONDS = 120


def free_port() -> int:
    """A port that no client is given by chance: below those of the system's choice."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


class TrackingServer:
    """`mlflow server` with its artifacts behind it, as `make tracking-server` starts it."""

    def __init__(self, store: str, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if self.process is not None:
            return
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.store, "--serve-artifacts"]
        command += ["--artifacts-destination", str(self.folder / "artifacts"), "--port", str(self.port), "--workers=2"]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            gone = self.process.poll() is not None or time.monotonic() > deadline
            assert not gone, (self.folder / "server.log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """End it and its workers at once."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its workers."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.uri}/health", timeout=1).ok
        except requests.exceptions.RequestException:
            return False


@pytest.fixture(scope="session")
def postgres() -> Iterator[str | None]:
    """The URI of an empty PostgreSQL database of its own; None where PostgreSQL is not installed."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(binaries[-1]) if binaries else shutil.which("initdb")
    if found is None:
        yield None
        return
    programs = Path(found).parent
    folder = Path(tempfile.mkdtemp(prefix="happy-sad-postgres-"))
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it does not run as root
    if user:
        shutil.chown(folder, "postgres")
    control = [*user, programs / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log"]
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    initialize = [*user, programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run(initialize, check=True, capture_output=True, cwd=folder)
    subprocess.run([*control, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL, cwd=folder)
    try:
        yield f"postgresql+psycopg2://postgres@/postgres?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, capture_output=True, cwd=folder)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def one_server(
    postgres: str | None, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TrackingServer]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "mlflow.db")
    server = TrackingServer(postgres or f"sqlite:///{folder}/mlflow.db", folder)
    yield server
    server.kill()


@pytest.fixture
def server(one_server: TrackingServer) -> TrackingServer:
    """The server that all tests share, running."""
    one_server.start()
    return one_server
