"""A local store is made whole or not at all, whoever makes it and whatever interrupts that."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient

from src.config import PROJECT_ROOT, Config, TrackingConfig
from src.errors import TrackingError
from src.evaluation.recorded import open_recorded
from src.tracking.provenance import system_metrics
from src.tracking.read import LOCATIONS, artifact, find_run, find_runs, relocate
from src.tracking.run import start_run
from src.tracking.store import check_store, open_store
from tests.trained_model import Trained

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


def test_a_store_that_was_moved_is_noticed_whatever_its_experiment_is_called(tmp_path: Path) -> None:
    def tracking(folder: str) -> TrackingConfig:
        return TrackingConfig("local", uri=f"sqlite:///{tmp_path}/{folder}/mlflow.db", experiment="größe & co")

    open_store(tracking("old"))
    (tmp_path / "old" / "artifacts").mkdir(exist_ok=True)
    assert relocate(tracking("old")) is None
    (tmp_path / "old").rename(tmp_path / "new")
    assert relocate(tracking("new")) == f"file://{tmp_path}/old/artifacts"
    assert relocate(tracking("new")) is None


def test_a_store_whose_folder_was_renamed_says_so_and_is_mended(trained_once: Trained, tmp_path: Path) -> None:
    """Else its artifacts are not found, and those of new runs go to the old place."""
    earlier = Path(str(trained_once.tracking.uri).removeprefix("sqlite:///")).parent
    (tmp_path / "old").mkdir()
    shutil.copytree(earlier, tmp_path / "old" / "mlruns")
    old = TrackingConfig("local", uri=f"sqlite:///{tmp_path}/old/mlruns/mlflow.db")
    rename(str(earlier), f"{tmp_path}/old/mlruns", tmp_path / "old" / "mlruns" / "mlflow.db")
    assert relocate(old) is None
    (tmp_path / "old").rename(tmp_path / "new name")
    moved = TrackingConfig("local", uri=f"sqlite:///{tmp_path}/new name/mlruns/mlflow.db")
    with pytest.raises(TrackingError, match=r"was moved here.*old/mlruns/artifacts.*python -m src\.relocate"):
        find_run(moved, trained_once.run_id)
    assert relocate(moved) == f"file://{tmp_path}/old/mlruns/artifacts"
    assert artifact(find_run(moved, trained_once.run_id), "config.yaml").is_relative_to(tmp_path / "new name")
    assert open_recorded(moved, trained_once.run_id).load().count_params()
    assert relocate(moved) is None
    assert not (tmp_path / "old").exists()


def rename(earlier: str, now: str, database: Path) -> None:
    """Make the copy of a store as if it had been made in its place."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for table, column in LOCATIONS:
            if column in [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]:
                connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (earlier, now))  # noqa: S608


@pytest.mark.parametrize(
    ("revision", "said"), [("ffff12345678", "by a newer MLflow than"), ("0584bdc529eb", "mlflow db upgrade sqlite:")]
)
def test_a_store_of_another_version_is_named_for_what_it_is(
    tmp_path: Path, empty_store: Path, revision: str, said: str
) -> None:
    database = Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    config = TrackingConfig("local", uri=f"sqlite:///{database}")
    with pytest.raises(TrackingError, match=said):
        open_store(config)
    with pytest.raises(TrackingError, match=said):
        find_run(config, "latest")


def test_a_store_that_was_never_completed_is_put_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"")  # what an interrupted MLflow leaves: a file without all of its tables
    assert open_store(TrackingConfig("local", uri=f"sqlite:///{tmp_path}/mlflow.db")) is not None
    assert "never completed" in capsys.readouterr().out
    assert (tmp_path / "mlflow.db.incomplete").exists()


@pytest.mark.parametrize(
    ("damage", "said"), [("header", "is damaged"), ("status", "is damaged"), ("fifo", "is no file")]
)
def test_a_damaged_store_is_one_line_before_figures_are_drawn_from_it(
    tmp_path: Path, empty_store: Path, damage: str, said: str
) -> None:
    database = Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))
    config = TrackingConfig("local", uri=f"sqlite:///{database}")
    client = MlflowClient(config.uri)
    client.set_terminated(client.create_run(client.create_experiment(config.experiment)).info.run_id)
    content = bytearray(database.read_bytes())
    content[100] ^= damage == "header"
    database.unlink()
    if damage == "fifo":
        os.mkfifo(database)
    else:
        database.write_bytes(content if damage == "header" else re.sub(rb"(?<!')FINISHED", b"FINISHEE", content))
    for use in (check_store, open_store, find_runs):
        with pytest.raises(TrackingError, match=f"^{database}: {said}.*name another store with tracking.uri=$"):
            use(config)


@pytest.mark.parametrize("place", ["elsewhere", "mlruns/artifacts/../../elsewhere"])
def test_a_store_that_nobody_named_keeps_its_artifacts_in_its_folder(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """As the `mlruns` of a stranger's folder in which the installed program is started."""
    monkeypatch.setattr("src.tracking.store.STORE", tmp_path / "mlruns")
    for folder in ("mlruns/artifacts", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    database = Path(shutil.copy(empty_store, tmp_path / "mlruns" / "mlflow.db"))
    MlflowClient(f"sqlite:///{database}").create_experiment("happy-sad")
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (f"file://{tmp_path}/{place}/happy-sad",))
    for use in (check_store, open_store, find_runs):
        with pytest.raises(
            TrackingError, match=f"outside of its folder; .*src.relocate.*tracking.uri=sqlite:///{database}$"
        ):
            use(TrackingConfig("local"))
    check_store(TrackingConfig("local", uri=f"sqlite:///{database}"))


@pytest.mark.parametrize(
    "answer", ["[]", "3", '{"experiment": 3}', '{"experiments": [{"tags": {}}]}', "<html>", "", "{"]
)
def test_what_answers_and_is_no_mlflow_server_is_one_line(
    answer: str, make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer.encode())

        do_HEAD = do_POST = do_GET  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr("src.tracking.store.STORE", tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = make_config("tracking=server", f"tracking.uri=http://127.0.0.1:{server.server_port}")
        for use in (lambda: start_run(config, "a run", {}).__enter__(), lambda: find_run(config.tracking, "0123")):
            with pytest.raises(TrackingError) as raised:
                use()
            assert "\n" not in str(raised.value)
        server.shutdown()


def test_a_run_is_recorded_into_the_one_that_mlflow_run_id_names(
    make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    mlflow = open_store(config.tracking)
    assert "MLFLOW_TRACKING_URI" not in os.environ  # where a later config would find it
    client = mlflow.MlflowClient()
    experiment = mlflow.get_experiment_by_name(config.tracking.experiment).experiment_id
    given = client.create_run(experiment, run_name="given").info.run_id
    client.set_terminated(given)
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    check_store(config.tracking)
    with start_run(config, "ours", {"kind": "test"}) as run:
        assert run.id == given
    ended = client.get_run(given)
    assert (ended.info.status, ended.info.run_name, ended.data.tags["kind"]) == ("FINISHED", "given", "test")
    assert ended.data.params["model.name"] == "baseline"
    with start_run(config, "ours", {}) as run:
        assert run.id != given

    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    with pytest.raises(TrackingError, match=f"^MLFLOW_RUN_ID={given}: is a run of tracking.experiment=happy-sad, not"):
        check_store(make_config("tracking.experiment=another").tracking)
    monkeypatch.setenv("MLFLOW_RUN_ID", "nothing")
    with pytest.raises(TrackingError, match=r"^MLFLOW_RUN_ID=nothing: "):
        check_store(config.tracking)


def test_a_deleted_experiment_is_told_before_the_work(make_config: Callable[..., Config]) -> None:
    tracking = make_config('tracking.experiment="gone #1?"').tracking
    mlflow = open_store(tracking)
    check_store(tracking)
    mlflow.MlflowClient().delete_experiment(mlflow.get_experiment_by_name("gone #1?").experiment_id)
    with pytest.raises(TrackingError, match=r"^tracking.experiment=gone #1\?: was deleted; name another"):
        check_store(tracking)


def test_the_use_of_the_machine_is_sampled_while_the_body_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.01")
    said: list[tuple[dict[str, float], int]] = []
    with system_metrics("run", lambda metrics, step: said.append((dict(metrics), step)), first_step=7):
        while len(said) < 2:
            time.sleep(0.01)
    assert [step for _, step in said][:2] == [7, 8]
    assert 0 <= said[0][0]["system/cpu_utilization_percentage"] <= 100
    after = len(said)
    time.sleep(0.05)
    assert len(said) == after
