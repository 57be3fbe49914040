"""A run whose process is killed goes on under its own name, to the weights of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from src.config import Config, plain
from src.config.identity import Request, config_digest
from src.errors import ConfigError, TrackingError, TrainingError
from src.sync import waiting_folders
from src.tracking import run as run_module
from src.tracking import spool
from src.tracking.resuming import Resumed, close_dead_runs, keep_request, resume
from src.tracking.run import Run, start_run
from src.tracking.run_folder import RUN_FILE, RunLink
from src.tracking.store import checkpoints_root, open_store, unsent_root
from src.training.run import train
from tests.composing import BRIEF_EVALUATION
from tests.processes import start

VALUES = [
    "dataset.synthetic.count=48",
    "dataset.image_size=32",
    "model=mobile",
    "model.filters=[8]",
    "trainer.epochs=4",
]
VALUES += ["trainer.batch_size=8", "trainer.precision=float32", "trainer.early_stopping=0", *BRIEF_EVALUATION]

REQUEST = Request("again", "python -m src.train")


def killed_after(epochs: int, overrides: list[str]) -> None:
    """Start a run and end its process with SIGKILL once it has printed so many epochs."""
    started = start("src.train", *overrides)
    started.wait_for(f"epoch {epochs}/")
    os.kill(started.pid, signal.SIGKILL)
    assert started.wait().returncode == -signal.SIGKILL


def resumed(config: Config) -> Resumed:
    with resume(config, REQUEST) as found:
        return found


def runs_of(config: Config) -> list:
    return open_store(config.tracking).search_runs(output_format="list")


def test_a_killed_run_goes_on_as_the_same_run(
    make_config: Callable[..., Config], sandbox: list[str], run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    config = make_config(*VALUES, tiny=False)
    killed_after(2, [*VALUES, *sandbox])
    (killed,) = runs_of(config)
    assert killed.info.status == "RUNNING"
    done = run_command("src.train", *VALUES, *sandbox, "resume=auto")
    assert done.returncode == 0, done.stderr
    assert "epoch 1/4" not in done.stdout
    (run,) = runs_of(config)
    assert (run.info.run_id, run.info.status) == (killed.info.run_id, "FINISHED")
    client = open_store(config.tracking).MlflowClient()
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "val_loss")]
    assert steps == [1, 2, 3, 4]
    assert run.data.tags["weights.sha256"] == train(make_config(*VALUES, "tracking=off", tiny=False)).weights_digest
    assert not list(checkpoints_root(config.tracking).iterdir())
    assert not list(unsent_root(config.tracking).iterdir())


def test_the_next_run_closes_one_whose_process_is_gone(make_config: Callable[..., Config], sandbox: list[str]) -> None:
    config = make_config(*VALUES, tiny=False)
    killed_after(1, [*VALUES, *sandbox])
    result = train(make_config(*VALUES, "seed=1", tiny=False))
    status = {run.info.run_id: run.info.status for run in runs_of(config)}
    assert status.pop(result.run_id) == "FINISHED"
    (killed,) = status
    assert status[killed] == "KILLED"
    resumed = train(make_config("seed=5", f"resume={killed}"))  # of the run's own config, whatever is asked
    assert resumed.run_id == killed
    (begun,) = (run for run in runs_of(config) if run.info.run_id == killed)
    assert resumed.name == begun.info.run_name  # and its command is the one that it was begun with
    assert f"    {begun.data.tags['command']}\n" in begun.data.tags["mlflow.note.content"]
    assert runs_of(config)[1].data.params["seed"] == "0" or runs_of(config)[0].data.params["seed"] == "0"


def test_a_run_goes_on_under_its_own_request_unless_that_is_half_written(make_config: Callable[..., Config]) -> None:
    checkpoint = checkpoints_root(make_config().tracking) / "0123"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.yaml").write_text(yaml.safe_dump(plain(make_config())))
    first = Request("first", "python -m src.train seed=1", ("seed=1",))
    keep_request(checkpoint, first)
    assert resumed(make_config("resume=auto"))[1:] == (first, RunLink(resumed="0123"))
    (checkpoint / "request.json").write_text((checkpoint / "request.json").read_text()[:-3])
    assert resumed(make_config("resume=auto"))[1] == REQUEST


def test_auto_starts_anew_where_nothing_is_left(make_config: Callable[..., Config]) -> None:
    config = make_config("resume=auto")
    assert resumed(config) == (config, REQUEST, None)
    assert config_digest(config) == config_digest(make_config())
    with pytest.raises(ConfigError, match="no such unfinished run"):
        resumed(make_config("resume=0123"))
    with pytest.raises(ConfigError, match="tracking=off"):
        resumed(make_config("resume=auto", "tracking=off"))


@pytest.mark.parametrize("content", ["", "seed: [", "removed_key: 1\n", b"\xff".decode("latin-1")])
def test_what_is_no_config_is_no_run_to_resume(
    make_config: Callable[..., Config], capsys: pytest.CaptureFixture[str], content: str
) -> None:
    config = make_config("resume=auto")
    checkpoint = checkpoints_root(config.tracking) / "0123"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.yaml").write_bytes(content.encode("latin-1"))
    assert resumed(config) == (config, REQUEST, None)
    assert f"{checkpoint}: no run to resume (" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"^resume=0123: "):
        resumed(make_config("resume=0123"))


def test_a_state_is_of_its_own_run_only_and_the_one_before_a_damaged_one_is_used(
    make_config: Callable[..., Config], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = ["tracking=off", "model=mobile", "model.filters=[8]", f"trainer.checkpoint={tmp_path}/state"]
    whole = train(make_config(*kept))
    for key, value in {"optimizer.learning_rate": 0.01, "dataset.synthetic.seed": 1}.items():
        with pytest.raises(TrainingError, match=f"another run .*{key}"):
            train(make_config(*kept, f"{key}={value}"))
    state = tmp_path / "state" / "state.npz"
    state.write_bytes(state.read_bytes()[:1000])
    assert train(make_config(*kept)).weights_digest == whole.weights_digest
    assert "state.npz is damaged" in capfd.readouterr().err


def test_a_full_disk_ends_a_run_in_one_line_that_can_be_resumed(
    make_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    config = make_config("model=mobile", "model.filters=[8]")
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(TrainingError, match="No space left on device; make room"):
            train(config)
    (failed,) = runs_of(config)
    assert failed.info.status == "FAILED"
    assert train(make_config("model=mobile", "model.filters=[8]", "resume=auto")).run_id == failed.info.run_id


def test_a_disk_that_is_full_while_a_record_is_written_is_one_line(make_config: Callable[..., Config]) -> None:
    config = make_config()
    said = r"^there/card\.html: No space left on device; make room and .*resume=auto$"
    with pytest.raises(TrackingError, match=said), start_run(config, "full", {}):
        raise OSError(28, "No space left on device", "here.html", None, "there/card.html")
    assert [run.info.status for run in runs_of(config)] == ["FAILED"]


def test_a_run_that_can_write_nothing_down_is_closed_by_the_next(
    make_config: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def fill_up(run: Run) -> None:
        monkeypatch.setattr(spool, "append_entry", full)
        run.log_metrics({"loss": 1.0})

    config = make_config()
    with pytest.raises(TrackingError, match="No space left on device"), start_run(config, "full", {}) as run:
        fill_up(run)
    monkeypatch.undo()
    assert f"the next run here closes run {run.id}" in capsys.readouterr().err
    (waiting,) = unsent_root(config.tracking).iterdir()
    monkeypatch.setattr("src.tracking.store.STORE", tmp_path / "none")
    assert waiting_folders() == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(config.tracking.uri))
    assert waiting_folders() == [waiting]
    assert close_dead_runs(config.tracking) == [run.id]
    assert [run.info.status for run in runs_of(config)] == ["KILLED"]


def test_a_run_can_only_be_found_once_it_is_locked(
    make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another run that starts in that moment would take it for one whose process is gone."""
    config, replace, closed = make_config(), os.replace, []

    def replaced(source: Path, target: Path) -> None:
        replace(source, target)
        if Path(target).name == RUN_FILE:
            closed.append(close_dead_runs(config.tracking))

    monkeypatch.setattr(os, "replace", replaced)
    with start_run(config, "just begun", {}) as run:
        assert closed == [[], []]  # before the store has made it, and after
        assert open_store(config.tracking).get_run(run.id).info.status == "RUNNING"


@pytest.mark.parametrize("made", [True, False])
def test_a_process_that_ends_while_its_run_is_being_made_leaves_none_running(
    make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    """Killed just before the store has the run, and just after it, when nothing on this machine names it."""
    config, while_going = make_config(), []
    begin = run_module.begin_run

    def killed(*arguments: Any) -> None:
        while_going.append(close_dead_runs(config.tracking))
        if made:
            begin(*arguments)
        raise SystemExit

    monkeypatch.setattr(run_module, "begin_run", killed)
    with pytest.raises(SystemExit), start_run(config, "being made", {}):
        pass
    assert while_going == [[]]
    runs = runs_of(config)
    assert [run.info.status for run in runs] == ["RUNNING"] * made
    assert close_dead_runs(config.tracking) == [run.info.run_id for run in runs]
    assert [run.info.status for run in runs_of(config)] == ["KILLED"] * made
    assert list(unsent_root(config.tracking).iterdir()) == []


def test_a_run_that_is_still_going_is_not_taken_over(make_config: Callable[..., Config]) -> None:
    with start_run(make_config(), "going", {}) as run:
        assert resumed(make_config("resume=auto"))[2] is None
        with pytest.raises(ConfigError, match="still going in another process"):
            resumed(make_config(f"resume={run.id}"))
    with pytest.raises(ConfigError, match=f"has finished; to train it again: python -m src.rerun run={run.id}"):
        resumed(make_config(f"resume={run.id}"))


def test_two_that_go_on_at_once_take_two_runs(make_config: Callable[..., Config]) -> None:
    for name in ("0123", "4567"):
        checkpoint = checkpoints_root(make_config().tracking) / name
        checkpoint.mkdir(parents=True)
        (checkpoint / "config.yaml").write_text(yaml.safe_dump(plain(make_config())))
    config = make_config("resume=auto")
    with resume(config, REQUEST) as first, resume(config, REQUEST) as second, resume(config, REQUEST) as third:
        links = [found[2] and found[2].resumed for found in (first, second, third)]
    assert sorted(map(str, links)) == ["0123", "4567", "None"]
