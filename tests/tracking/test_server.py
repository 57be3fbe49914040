"""Runs on a tracking server: many at once, and while the server hangs, dies and comes back."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from src import sync
from src.config import PROJECT_ROOT, Config, TrackingConfig
from src.errors import TrackingError
from src.tracking import run as run_module
from src.tracking import spool, store
from src.tracking.run import start_run
from src.tracking.store import check_server, open_store
from src.training import callbacks
from src.training.run import train

pytestmark = pytest.mark.integration

if TYPE_CHECKING:
    from tests.tracking.conftest import TrackingServer

MakeConfig = Callable[..., Config]
METRICS = ["loss", "accuracy", "val_loss", "val_accuracy", "val_auc"]
QUICK_SECONDS = 1.0


@pytest.fixture
def unsent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store, "STORE", tmp_path)
    return tmp_path / "unsent"


@pytest.fixture
def on_server(make_config: MakeConfig, server: TrackingServer) -> MakeConfig:
    """A config whose runs go to the server, in an experiment of the test's own."""
    experiment = f"tracking.experiment=test-{uuid.uuid4().hex[:8]}"
    return lambda *values: make_config("tracking=server", f"tracking.uri={server.uri}", experiment, *values)


def values(step: int) -> dict[str, float]:
    return {name: number + step / 7 for number, name in enumerate(METRICS)}


def history(config: Config, run_id: str, name: str) -> list[tuple[int, float]]:
    client = open_store(config.tracking).MlflowClient()
    return [(point.step, point.value) for point in client.get_metric_history(run_id, name)]


def assert_whole(config: Config, run_id: str, steps: int) -> None:
    for number, name in enumerate(METRICS):
        assert history(config, run_id, name) == [(step, number + step / 7) for step in range(1, steps + 1)]


def only_run(config: Config) -> Any:
    (run,) = open_store(config.tracking).search_runs(output_format="list")
    return run


def test_sixteen_runs_at_once_lose_nothing_on_postgresql(
    on_server: MakeConfig, unsent: Path, postgres: str | None, tmp_path: Path
) -> None:
    if postgres is None:
        pytest.skip("PostgreSQL is not installed")
    configs = [on_server(f"seed={seed}") for seed in range(16)]
    open_store(configs[0].tracking)

    def record(config: Config) -> str:
        with start_run(config, f"run {config.seed}", {"kind": "test"}) as run:
            for step in range(1, 21):
                run.log_metrics(values(step), step=step)
            run.path("notes/what.txt").write_text(f"seed {config.seed}")
        assert run.id is not None
        return run.id

    with ThreadPoolExecutor(len(configs)) as threads:
        run_ids = list(threads.map(record, configs))
    assert len(set(run_ids)) == len(configs)
    mlflow = open_store(configs[0].tracking)
    for config, run_id in zip(configs, run_ids, strict=True):
        run = mlflow.get_run(run_id)
        assert (run.info.status, run.info.run_name) == ("FINISHED", f"run {config.seed}")
        assert run.data.params["seed"] == str(config.seed)
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
        assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes/what.txt") == f"seed {config.seed}"
        assert_whole(config, run_id, steps=20)
    assert not list(unsent.iterdir())


def test_metrics_wait_while_the_server_is_gone_and_arrive_in_order_once_each(
    on_server: MakeConfig, unsent: Path, server: TrackingServer, capfd: pytest.CaptureFixture[str]
) -> None:
    config = on_server()
    slowest = 0.0
    with start_run(config, "through an outage", {}) as run:
        for step in range(1, 13):
            if step == 4:
                server.kill()
            if step == 9:
                time.sleep(1)  # the sender tries in vain
                server.start()
            start = time.perf_counter()
            run.log_metrics(values(step), step=step)
            slowest = max(slowest, time.perf_counter() - start)
    assert slowest < QUICK_SECONDS
    assert only_run(config).info.status == "FINISHED"
    assert_whole(config, run.id or "", steps=12)
    assert "the tracking store does not answer" in capfd.readouterr().err
    assert not list(unsent.iterdir())


def test_a_request_that_the_server_had_taken_before_it_hung_is_not_recorded_twice(
    on_server: MakeConfig, unsent: Path, server: TrackingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = on_server()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with start_run(config, "through a hang", {}) as run:
        for step in range(1, 7):
            if step == 3:
                server.signal(signal.SIGSTOP)
            start = time.perf_counter()
            run.log_metrics(values(step), step=step)
            assert time.perf_counter() - start < QUICK_SECONDS
        time.sleep(2.5)  # requests reach the machine, and time out here
        server.signal(signal.SIGCONT)
    assert_whole(config, run.id or "", steps=6)
    assert only_run(config).info.status == "FINISHED"


def test_training_ends_without_its_server_and_all_of_it_is_sent_later(
    on_server: MakeConfig,
    unsent: Path,
    server: TrackingServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = on_server("model=mobile", "model.filters=[8]", "trainer.epochs=3", "evaluation.figures=true")
    report = callbacks.ReportEpochs.on_epoch_end

    def kill_after_the_first(self: Any, epoch: int, logs: Any = None) -> None:
        report(self, epoch, logs)
        if epoch == 0:
            server.kill()

    monkeypatch.setattr(callbacks.ReportEpochs, "on_epoch_end", kill_after_the_first)
    with monkeypatch.context() as impatient:
        impatient.setattr(run_module, "PATIENCE_SECONDS", 0.5)
        result = train(config)
    said = capfd.readouterr().err
    assert "the rest waits in" in said
    assert "python -m src.sync" in said
    assert len(list(unsent.iterdir())) == 1

    monkeypatch.setattr(sys, "argv", ["src/sync.py"])
    with pytest.raises(SystemExit) as stop:
        sync.main()
    assert stop.value.code == 1
    assert "nothing answers" in capfd.readouterr().err
    server.start()
    with pytest.raises(SystemExit) as stop:
        sync.main()
    assert stop.value.code == 0
    assert f"delivered run {result.run_id}" in capfd.readouterr().out
    assert not list(unsent.iterdir())
    run = only_run(config)
    assert run.info.status == "FINISHED"
    assert history(config, run.info.run_id, "val_loss") == list(enumerate(result.fit.history["val_loss"], start=1))
    assert run.data.tags["weights.sha256"] == result.weights_digest
    assert len(run.inputs.dataset_inputs) == 3
    mlflow = open_store(config.tracking)
    artifacts = {item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert {"config.yaml", "figures", "images", "predictions.parquet"} <= artifacts
    (model,) = mlflow.search_logged_models([run.info.experiment_id], output_format="list")
    assert mlflow.models.Model.load(model.model_uri).signature is not None


def test_a_killed_runs_metrics_are_sent_and_the_run_is_closed(
    on_server: MakeConfig, unsent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = on_server()
    program = f"""
import os, pickle, signal, sys
from pathlib import Path
from src.tracking import run as recording, store
from src.tracking.run import start_run
store.STORE = Path({str(unsent.parent)!r})
recording.Spool._work = lambda self: None  # killed before anything was sent
with start_run(pickle.loads(sys.stdin.buffer.read()), "killed", {{}}) as run:
    for step in range(1, 4):
        run.log_metrics({{name: n + step / 7 for n, name in enumerate({METRICS!r})}}, step=step)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    import pickle

    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT, input=pickle.dumps(config), timeout=120, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    (folder,) = spool.unsent_folders(unsent)
    assert spool.sync(folder) == only_run(config).info.run_id
    run = only_run(config)
    assert (run.info.status, run.data.tags["failure"]) == ("KILLED", "its process ended without a word")
    assert_whole(config, run.info.run_id, steps=3)


def test_a_job_of_a_sweep_waits_for_a_server_that_is_being_restarted() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler, bind_and_activate=False) as answering:
        answering.server_bind()
        uri = f"http://127.0.0.1:{answering.server_address[1]}"
        with pytest.raises(TrackingError, match="nothing answers"):
            check_server(TrackingConfig("server", uri=uri))
        begin = threading.Timer(1.5, lambda: (answering.server_activate(), answering.serve_forever()))
        begin.start()
        start = time.perf_counter()
        check_server(TrackingConfig("server", uri=uri), patient=True)
        assert time.perf_counter() - start > 1
        answering.shutdown()


def test_a_server_that_is_not_there_at_the_start_is_one_line(make_config: MakeConfig) -> None:
    config = make_config("tracking=server", "tracking.uri=http://127.0.0.1:9")
    start = time.perf_counter()
    with pytest.raises(
        TrackingError, match=r"^tracking.uri=http://127.0.0.1:9: nothing answers; start an MLflow server"
    ):
        train(config)
    assert time.perf_counter() - start < QUICK_SECONDS
