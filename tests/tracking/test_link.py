"""How a job says how far it is, and what the sweep shows of it."""

from __future__ import annotations

import io
import time
from pathlib import Path

from rich.console import Console

from src.config.identity import Request
from src.sweeps.jobs import Job
from src.sweeps.pool import Running, watched
from src.sweeps.runner import SweepProgress
from src.tracking.run_folder import RunLink


def test_a_sweep_shows_the_epoch_that_a_job_reports(tmp_path: Path) -> None:
    job, log = watched(Job(0, None, Request("a", "train", ("seed=0",))), tmp_path)
    assert job.link.progress() is None
    running = Running(job, log, time.perf_counter())
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    progress = SweepProgress(1, console)
    progress.started(running, "seed=0")
    progress.refresh([running])
    assert progress.bars.tasks[1].fields["state"] == "running"
    job.link.report({"val_accuracy": 0.75}, epoch=3, epochs=4)
    progress.refresh([running])
    assert progress.bars.tasks[1].fields["state"] == "epoch 3/4, validation accuracy 0.750"
    assert progress.bars.tasks[1].completed == 0.75


def test_a_run_that_is_no_job_reports_nowhere() -> None:
    RunLink().report({}, epoch=1, epochs=1)
    assert RunLink().progress() is None
