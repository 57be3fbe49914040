"""Jobs in a pool below one parent run, with their progress shown: what sweeps and searches share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..config import ClusterConfig
from ..config.identity import run_name
from .jobs import Job, Outcome
from .parent import Parent
from .pool import Pool, ProcessPool, Running
from .ray_pool import RayPool

REFRESH_SECONDS = 0.5
SHOWN_SCORES = ("validation/accuracy", "test/accuracy")


@contextlib.contextmanager
def worker_pool(
    size: int, logs: Path, backend: Literal["workers", "ray"], cluster: ClusterConfig | None
) -> Iterator[Pool]:
    """Open a pool that ends its jobs with the block; `cluster` is None for jobs that do not train.

    Raises ClusterError where the cluster cannot be used.
    """
    pool: Pool
    if backend == "ray":
        pool = RayPool(size, logs, cluster or ClusterConfig())
    else:
        pool = ProcessPool(size, logs, preload=cluster is not None)
    try:
        yield pool
    finally:
        pool.close()


class SweepProgress:
    """Progress bars on a terminal, and one line for each job that ended."""

    def __init__(self, total: int, console: Console, done: int = 0) -> None:
        self.total, self.console, self.done = total, console, done
        columns = (
            TextColumn("{task.description}"),
            BarColumn(20),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
        )
        self.bars = Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
        )
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
        scores = [
            f"{name.replace('/', ' ')} {outcome.scores[name]:.3f}" for name in SHOWN_SCORES if name in outcome.scores
        ]
        result = ", ".join(scores) if outcome.status in ("finished", "skipped") else outcome.reason
        line = f"[{self.done}/{self.total}] {title}: {outcome.status} in {outcome.seconds:.1f} s"
        self.console.print(f"{line}; {result}" if result else line, highlight=False, soft_wrap=True, markup=False)

    def refresh(self, running: Sequence[Running]) -> None:
        """Show the progress of the jobs. A job on another machine reports none."""
        begun = 0.0
        for each in running:
            if progress := each.job.link.progress():
                state = f"epoch {progress.epoch}/{progress.epochs}"
                if "val_accuracy" in progress.metrics:
                    state += f", validation accuracy {progress.metrics['val_accuracy']:.3f}"
                share = progress.epoch / progress.epochs
                begun += share
                self.bars.update(self.lines[each.job.number], completed=share, state=state)
        self.bars.update(self.whole, completed=self.done + begun, state=f"{self.done}/{self.total}")


class Runner:
    """Starts jobs and collects their outcomes; each is shown on the terminal and closed in the tracking store."""

    def __init__(self, pool: Pool, parent: Parent | None, progress: SweepProgress, shared: Sequence[str]) -> None:
        self.pool, self.parent, self.progress, self.shared = pool, parent, progress, shared

    @property
    def has_room(self) -> bool:
        """Return whether a further job could start now."""
        return self.pool.has_room

    def run(self, jobs: Sequence[Job], *, fail_fast: bool) -> dict[int, Outcome]:
        """Run `jobs` in order, as many at once as there is room for, and return outcomes by job number.

        With `fail_fast`, the first failure ends the running jobs and starts no more.
        """
        waiting, outcomes = list(jobs), dict[int, Outcome]()
        try:
            while waiting or self.pool.running:
                while waiting and self.has_room:
                    self.start(waiting.pop(0))
                ended = self.wait()
                if fail_fast and any(outcome.status == "failed" for _, outcome in ended):
                    waiting.clear()
                    ended += self.interrupt()
                outcomes |= {job.number: outcome for job, outcome in ended}
        except KeyboardInterrupt:
            self.interrupt()
            raise
        return outcomes

    def start(self, job: Job) -> None:
        """Start `job` as a child of the parent run, named by what tells it from the others."""
        if job.config is not None:
            own = [override for override in job.request.overrides if override not in self.shared]
            job = replace(job, request=replace(job.request, name=run_name(job.config, own)))
        if self.parent is not None:
            job = replace(job, link=replace(job.link, parent=self.parent.id))
        self.progress.started(self.pool.start(job), job.title(self.shared))

    def wait(self) -> list[tuple[Job, Outcome]]:
        """Return the jobs that end within half a second."""
        ended = self._record(self.pool.wait(REFRESH_SECONDS))
        self.progress.refresh(self.pool.running)
        return ended

    def interrupt(self) -> list[tuple[Job, Outcome]]:
        """End all running jobs, as KILLED runs."""
        ended = self._record(self.pool.interrupt())
        if self.parent is not None:
            self.parent.close_lost("KILLED", "interrupted")
        return ended

    def _record(self, ended: Sequence[tuple[Running, Outcome]]) -> list[tuple[Job, Outcome]]:
        for running, outcome in ended:
            self.progress.ended(running.job.number, running.job.title(self.shared), outcome)
            if outcome.status == "failed" and self.parent is not None:
                # A worker that died could not record its failure itself.
                self.parent.close_lost("FAILED", outcome.reason, digest=running.job.digest)
        return [(running.job, outcome) for running, outcome in ended]
