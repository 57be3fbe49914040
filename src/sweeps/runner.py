"""Jobs in workers below one parent run, with their progress shown: what sweeps and searches have in common."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ..config import ClusterConfig
from ..config.identity import run_name
from .jobs import Job, Outcome
from .parent import Parent
from .pool import Backend, Pool, Running
from .ray_pool import RayPool

REFRESH_SECONDS = 0.5
SHOWN_SCORES = ("validation/accuracy", "test/accuracy")


@contextlib.contextmanager
def worker_pool(
    size: int, logs: Path, backend: Literal["workers", "ray"], cluster: ClusterConfig | None
) -> Iterator[Backend]:
    """A pool whose jobs do not outlive the block; `cluster` is None for jobs that do not train.

    Raises ClusterError where the cluster cannot be used.
    """
    pool: Backend
    if backend == "ray":
        pool = RayPool(size, logs, cluster or ClusterConfig())
    else:
        pool = Pool(size, logs, preload=cluster is not None)
    try:
        yield pool
    finally:
        pool.close()


class SweepProgress:
    """Bars where the output is a terminal; in any case one line for each job that ended."""

    def __init__(self, total: int, workers: int, console: Console, done: int = 0) -> None:
        self.total, self.workers, self.console, self.done = total, workers, console, done
        self.seconds: list[float] = []
        columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[state]}"))
        self.bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.whole = self.bars.add_task("all jobs", total=total, state="")
        self.lines: dict[int, TaskID] = {}

    def __enter__(self) -> SweepProgress:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def started(self, running: Running, title: str) -> None:
        """Show a line for a job."""
        self.lines[running.job.number] = self.bars.add_task(title[:60], total=1, state="running")

    def ended(self, number: int, title: str, outcome: Outcome) -> None:
        """Replace a job's line by its result."""
        self.done += 1
        if number in self.lines:
            self.bars.remove_task(self.lines.pop(number))
            self.seconds.append(outcome.seconds)
        scores = [
            f"{name.replace('/', ' ')} {outcome.scores[name]:.3f}" for name in SHOWN_SCORES if name in outcome.scores
        ]
        result = ", ".join(scores) if outcome.status in ("finished", "skipped") else outcome.reason
        line = f"[{self.done}/{self.total}] {title}: {outcome.status} in {outcome.seconds:.1f} s"
        self.console.print(f"{line}; {result}" if result else line, highlight=False, soft_wrap=True, markup=False)

    def refresh(self, running: Sequence[Running]) -> None:
        """Bring the lines up to how far the jobs are. A job on another machine says nothing: it is running."""
        begun = 0.0
        for each in running:
            if progress := each.job.link.progress():
                state = f"epoch {progress.epoch}/{progress.epochs}"
                if "val_accuracy" in progress.metrics:
                    state += f", validation accuracy {progress.metrics['val_accuracy']:.3f}"
                share = progress.epoch / progress.epochs
                begun += share
                self.bars.update(self.lines[each.job.number], completed=share, state=state)
        state = f"{self.done}/{self.total}{self._left(running)}"
        self.bars.update(self.whole, completed=self.done + begun, state=state)

    def _left(self, running: Sequence[Running]) -> str:
        if not self.seconds:
            return ""
        mean, now = sum(self.seconds) / len(self.seconds), time.perf_counter()
        spent = sum(min(now - each.started, mean) for each in running)
        left = max(0.0, (self.total - self.done) * mean - spent) / self.workers
        return f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"


class Runner:
    """Starts jobs and collects their outcomes; each is shown on the terminal and closed in the tracking store."""

    def __init__(self, pool: Backend, parent: Parent | None, progress: SweepProgress, shared: Sequence[str]) -> None:
        self.pool, self.parent, self.progress, self.shared = pool, parent, progress, shared

    @property
    def has_room(self) -> bool:
        """Whether a further job could start now."""
        return bool(self.pool.free)

    @property
    def running(self) -> int:
        """The number of jobs on their way."""
        return len(self.pool.running)

    def start(self, job: Job) -> None:
        """Start `job` as a child of the parent run, named by what tells it from the others."""
        if job.config is not None:
            own = [override for override in job.overrides if override not in self.shared]
            job = replace(job, config=replace(job.config, name=job.config.name or run_name(job.config, own)))
        if self.parent is not None:
            job = replace(job, link=replace(job.link, parent=self.parent.id))
        self.progress.started(self.pool.start(job), job.title(self.shared))

    def wait(self) -> list[tuple[Job, Outcome]]:
        """The jobs that ended within half a second."""
        ended = self._shown(self.pool.wait(REFRESH_SECONDS))
        self.progress.refresh(self.pool.running)
        return ended

    def interrupt(self) -> list[tuple[Job, Outcome]]:
        """End all running jobs, as KILLED runs."""
        ended = self._shown(self.pool.interrupt())
        if self.parent is not None:
            self.parent.close_lost("KILLED", "interrupted")
        return ended

    def _shown(self, ended: Sequence[tuple[Running, Outcome]]) -> list[tuple[Job, Outcome]]:
        for running, outcome in ended:
            self.progress.ended(running.job.number, running.job.title(self.shared), outcome)
            if outcome.status == "failed" and self.parent is not None:
                # A worker that died could not say so itself.
                self.parent.close_lost("FAILED", outcome.reason, digest=running.job.digest)
        return [(running.job, outcome) for running, outcome in ended]
