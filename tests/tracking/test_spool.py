"""The queue between a run and its server: on disk at once, in order, whatever ends the process."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from src.config import Config
from src.system import append_entry, read_entries
from src.tracking.run_folder import LOCK, RUN_FILE, locked
from src.tracking.spool import (
    EVENTS,
    METRICS_PER_REQUEST,
    Event,
    ServerAwayError,
    ServerRejectedError,
    Spool,
    deliver,
    discard,
    leading_batch,
    unsent_folders,
)
from src.tracking.store import open_store


def metric(step: int, count: int = 1) -> Event:
    return {"metrics": {f"m{number}": float(step) for number in range(count)}, "step": step, "time": step}


def away(events: Sequence[Event]) -> None:
    raise ServerAwayError("connection rejected")


def test_what_one_process_could_not_send_the_next_one_sends_in_order(tmp_path: Path) -> None:
    first = Spool(tmp_path, away)
    for step in range(5):
        first.add(metric(step))
    assert not first.close(patience=0.1)
    with (tmp_path / EVENTS).open("a") as file:
        file.write('{"metrics": {"cut o')  # as a process killed while writing leaves it
    got: list[Event] = []
    second = Spool(tmp_path, got.extend)
    second.add(metric(5))
    assert second.close(patience=5)
    assert got == [metric(step) for step in range(6)]
    third = Spool(tmp_path, got.extend)
    assert third.close(patience=5)
    assert len(got) == 6


def test_an_event_is_on_disk_before_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (synced.append((tmp_path / EVENTS).read_text()), fsync(number)))
    spool = Spool(tmp_path, away)
    spool.add(metric(1))
    assert '"step": 1' in synced[-1]
    spool.close(patience=0.1)


def test_a_data_set_that_two_runs_add_at_once_is_sent_again(
    tmp_path: Path, make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = open_store(make_config().tracking)

    def raced(*_: object) -> None:
        raise mlflow.MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name", BAD_REQUEST)

    monkeypatch.setattr(mlflow.MlflowClient, "log_inputs", raced)
    event = {"dataset": "faces", "digest": "0", "splits": {"train": "1"}, "source": "here"}
    with pytest.raises(ServerAwayError, match="UNIQUE"):
        deliver(mlflow, "run", tmp_path, [event])


def test_the_folder_of_a_delivered_run_goes_although_other_starts_try_its_lock(tmp_path: Path) -> None:
    done = threading.Event()

    def try_locks() -> None:
        while not done.is_set():
            for folder in unsent_folders(tmp_path):
                with contextlib.suppress(Timeout, FileNotFoundError, FileExistsError), locked(folder):
                    pass

    with ThreadPoolExecutor(4) as others:
        tries = [others.submit(try_locks) for _ in range(4)]
        for number in range(200):
            folder = tmp_path / str(number)
            folder.mkdir()
            with FileLock(folder / LOCK):
                (folder / RUN_FILE).write_text("{}")
                discard(folder)
        done.set()
    for tried in tries:
        tried.result()
    assert not list(tmp_path.iterdir())


def test_a_refusal_ends_the_sending_and_is_told(tmp_path: Path) -> None:
    def refuse(events: Sequence[Event]) -> None:
        raise ServerRejectedError("no such run")

    spool = Spool(tmp_path, refuse)
    spool.add(metric(1))
    assert not spool.close(patience=5)
    assert spool.rejected == "no such run"


def test_metrics_go_together_as_far_as_a_request_holds_them() -> None:
    tags: Event = {"tags": {"a": "b"}}
    assert leading_batch([metric(1), metric(2), tags, metric(3)]) == [metric(1), metric(2)]
    assert leading_batch([tags, metric(1)]) == [tags]
    half = METRICS_PER_REQUEST // 2 + 1
    assert leading_batch([metric(1, half), metric(2, half)]) == [metric(1, half)]


def test_a_full_disk_leaves_no_half_a_line_for_the_next_to_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_entry(tmp_path / EVENTS, {"step": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            append_entry(tmp_path / EVENTS, {"step": 2})
    append_entry(tmp_path / EVENTS, {"step": 3})
    assert [event["step"] for event in read_entries(tmp_path / EVENTS)] == [1, 3]
