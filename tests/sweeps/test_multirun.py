"""`python -m src.train -m`: one parent, a worker for each job, nothing lost or run twice."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from src.config import Config, TrackingConfig
from src.config.identity import config_digest
from src.sweeps.multirun import finished_before
from src.sweeps.pool import slots
from src.tracking.run import start_run
from src.tracking.store import open_store
from src.train import main
from src.training.run import train
from tests.composing import BRIEF_EVALUATION
from tests.processes import start

SMALL = ["dataset.synthetic.count=32", "dataset.image_size=32", "trainer.batch_size=8", "trainer.epochs=1"]
SMALL += BRIEF_EVALUATION


@pytest.fixture
def sweep(sandbox: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["src/train.py", "-m", *arguments, *SMALL, *sandbox])
        main()

    return run


def runs(config: Config, query: str) -> list:
    return open_store(config.tracking).search_runs(
        filter_string=query, output_format="list", order_by=["attributes.start_time"]
    )


def test_a_sweep_is_one_parent_with_a_child_for_each_job_equal_to_the_job_alone(
    sweep: Callable[..., None], make_config: Callable[..., Config], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sweep("model=baseline,mobile", "model.filters=[8]", "aug=light", "sweep.n_jobs=2")
    config = make_config("model=mobile", "model.filters=[8]", "aug=light", *SMALL, tiny=False)
    (parent,) = runs(config, "tags.role = 'sweep'")
    children = runs(config, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "sweep over model"
    assert (parent.data.params["model.name"], parent.data.params["dataset.source"]) == ("baseline, mobile", "synthetic")
    assert parent.data.tags["command"].startswith("python -m src.train -m model=baseline,mobile")
    assert sorted(child.data.params["model.name"] for child in children) == ["baseline", "mobile"]
    in_sweep = next(child for child in children if child.data.params["model.name"] == "mobile")
    assert "sweep." not in in_sweep.data.tags["command"]
    assert in_sweep.data.tags["weights.sha256"] == train(config).weights_digest

    files = Path(open_store(config.tracking).artifacts.download_artifacts(run_id=parent.info.run_id, dst_path=tmp_path))
    table = pd.read_csv(files / "jobs.csv").set_index("model")
    assert table.loc["mobile", "run"] == in_sweep.info.run_id
    assert table.loc["mobile", "test/accuracy"] == pytest.approx(in_sweep.data.metrics["test/accuracy"])
    assert "mobile" in (files / "comparison.html").read_text()
    assert "[2/2]" in capfd.readouterr().out


def test_the_rest_goes_on_when_a_job_fails_and_what_is_finished_is_not_run_again(
    sweep: Callable[..., None], make_config: Callable[..., Config], capfd: pytest.CaptureFixture[str]
) -> None:
    shrunk_away = "model.filters=[8,8,8,8,8,8],[8]"
    with pytest.raises(SystemExit) as stop:
        sweep(shrunk_away)
    assert stop.value.code == 1
    assert (
        "1 of 2 jobs failed: 'model.filters=[8,8,8,8,8,8]': dataset.image_size=32: too small" in capfd.readouterr().err
    )
    (parent,) = runs(make_config(), "tags.role = 'sweep'")
    assert parent.info.status == "FAILED"
    with pytest.raises(SystemExit):
        sweep(shrunk_away, "sweep.skip_finished=true")
    assert "model.filters=[8]': skipped" in capfd.readouterr().out
    assert len(runs(make_config(), "attributes.status = 'FINISHED'")) == 1
    assert [run.info.run_id for run in runs(make_config(), "tags.role = 'sweep'")] == [parent.info.run_id]
    with pytest.raises(SystemExit):
        sweep(shrunk_away, "sweep.fail_fast=true")
    assert len(runs(make_config(), "attributes.status = 'FINISHED'")) == 1


def test_every_config_is_checked_before_the_first_job(
    sweep: Callable[..., None], make_config: Callable[..., Config], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        sweep("model.dropout=0.1,1.5")
    assert stop.value.code == 2
    assert capfd.readouterr().err.startswith("error: model.dropout=1.5: accepts a number")
    assert runs(make_config(), "") == []


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (["output=FOLDER/same"], "same: the jobs of a sweep would write over each other there; give each its own: "),
        (["trainer.checkpoint=FOLDER/same"], "FOLDER/same/${hydra:job.num}'"),
        (["resume=0123"], "resume=0123: is one run; with -m use resume=auto"),
        (["model.dropout=range(0,0)"], "no jobs: one of the lists of values is empty"),
    ],
)
def test_jobs_that_would_be_in_each_others_way_are_rejected_before_the_first_one(
    sweep: Callable[..., None],
    make_config: Callable[..., Config],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    values: list[str],
    line: str,
) -> None:
    with pytest.raises(SystemExit) as stop:
        sweep("seed=0,1", *(value.replace("FOLDER", str(tmp_path)) for value in values))
    assert stop.value.code == 2
    assert line.replace("FOLDER", str(tmp_path)) in capfd.readouterr().err
    assert runs(make_config(), "") == []


def test_jobs_that_may_be_resumed_belong_to_their_sweep_and_write_into_folders_of_their_own(
    sweep: Callable[..., None], make_config: Callable[..., Config], tmp_path: Path
) -> None:
    sweep("seed=0,1", "resume=auto", f"output={tmp_path}/job${{hydra:job.num}}")
    (parent,) = runs(make_config(), "tags.role = 'sweep'")
    children = runs(make_config(), f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert sorted(child.data.params["seed"] for child in children) == ["0", "1"]
    for seed in (0, 1):
        assert f"\nseed: {seed}\n" in (tmp_path / f"job{seed}" / "config.yaml").read_text()


MULTIRUN = ["-m", "seed=0,1", "model.filters=[8]", "sweep.skip_finished=true"]
TUNE = ["tuner=random", "space=tiny", "model=mobile", "tuner.max_trials=2", "tuner.save_as=killed_by_a_test"]


@pytest.mark.parametrize(
    ("module", "arguments", "ends"),
    [("src.train", MULTIRUN, [signal.SIGINT, signal.SIGKILL]), ("tests.sweeps.tune_elsewhere", TUNE, [signal.SIGKILL])],
    ids=["sweep", "search"],
)
def test_an_interrupted_command_continues(
    module: str,
    arguments: list[str],
    ends: list[signal.Signals],
    sandbox: list[str],
    make_config: Callable[..., Config],
    tmp_path: Path,
) -> None:
    tracking = make_config().tracking
    command = [*arguments, *SMALL, "trainer.epochs=4", *sandbox]
    command += [f"output={tmp_path}/search"] if arguments is TUNE else []
    for end in ends:
        started = start(module, *command, EXPERIMENTS=str(tmp_path))
        wait_until(lambda: statuses(tracking, "RUNNING") == 1)
        os.kill(started.pid, end)
        ended = started.wait(60)
        assert ended.returncode == (130 if end == signal.SIGINT else -end)
        if end == signal.SIGINT:
            assert statuses(tracking, "KILLED") == 1
            assert "to go on with the sweep: python -m src.train -m seed=0,1" in ended.stderr
    assert start(module, *command, EXPERIMENTS=str(tmp_path)).wait().returncode == 0
    assert (statuses(tracking, "FINISHED"), statuses(tracking, "RUNNING")) == (2, 0)
    assert statuses(tracking, "KILLED") <= len(ends)  # a worker may reach its end before it hears of the parent's
    role = "tune" if arguments is TUNE else "sweep"
    assert len(runs(make_config(), f"tags.role = '{role}'")) == 1
    assert (tmp_path / "tuned_killed_by_a_test.yaml").exists() == (arguments is TUNE)


def statuses(tracking: TrackingConfig, status: str) -> int:
    """How many jobs have the status."""
    found = open_store(tracking).search_runs(filter_string=f"attributes.status = '{status}'", output_format="list")
    return sum("role" not in run.data.tags for run in found)


def wait_until(true: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_cores_are_shared_out_without_changing_the_number_of_threads() -> None:
    cores = os.sched_getaffinity(0)
    both = slots(2)
    if len(cores) > 1:
        assert both[0].cores.isdisjoint(both[1].cores)
    assert both[0].cores | both[1].cores == cores
    assert {slot.threads for slot in both} == {len(cores)}
    assert slots(1)[0].cores == cores


def test_each_job_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [slot.gpu for slot in slots(2)] == ["4", "6"]
    with pytest.raises(Exception, match="accepts at most 2, one job for each GPU"):
        slots(3)


def test_a_first_sweep_may_skip_what_is_finished(tmp_path: Path) -> None:
    """The command that goes on with a sweep is the one that began it."""
    assert finished_before([], TrackingConfig("local", uri=f"sqlite:///{tmp_path}/mlflow.db")) == {}


def test_a_worker_that_outlives_its_sweep_is_waited_for(make_config: Callable[..., Config]) -> None:
    """Otherwise the sweep that goes on would run its job a second time."""
    config, begun = make_config(), threading.Event()

    def worker() -> None:
        with start_run(config, "a job", {"weights.sha256": "0"}):
            begun.set()
            time.sleep(2)

    with ThreadPoolExecutor() as pool:
        ending = pool.submit(worker)
        assert begun.wait(60)
        job: Any = SimpleNamespace(number=5, digest=config_digest(config))
        assert finished_before([job], config.tracking)[5].status == "skipped"
        ending.result()
