"""Jobs in workers, recorded below one parent run, with their progress shown: what multirun and tune have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..config.identity import config_digest, run_name
from ..tracking.recording import RunLink
from .jobs import Job, Outcome
from .parent import Parent
from .pool import Backend, Running
from .progress import SweepProgress

REFRESH_SECONDS = 0.5


class Runner:
    """Starts jobs and collects their outcomes; each is told on the terminal and closed in the tracking store."""

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
        own = [override for override in job.overrides if override not in self.shared]
        config = replace(job.config, name=job.config.name or run_name(job.config, own))
        job = replace(job, config=config, link=RunLink(self.parent.id if self.parent else None))
        self.progress.started(self.pool.start(job), job.title(self.shared))

    def wait(self) -> list[tuple[Job, Outcome]]:
        """The jobs that ended within half a second."""
        ended = self._told(self.pool.wait(REFRESH_SECONDS))
        self.progress.refresh(self.pool.running)
        return ended

    def interrupt(self) -> list[tuple[Job, Outcome]]:
        """End all running jobs, as KILLED runs."""
        ended = self._told(self.pool.interrupt())
        if self.parent is not None:
            self.parent.close_lost("KILLED", "interrupted")
        return ended

    def _told(self, ended: Sequence[tuple[Running, Outcome]]) -> list[tuple[Job, Outcome]]:
        for running, outcome in ended:
            self.progress.ended(running.job.number, running.job.title(self.shared), outcome)
            if outcome.status == "failed" and self.parent is not None:
                # A worker that died could not say so itself.
                self.parent.close_lost("FAILED", outcome.reason, digest=config_digest(running.job.config))
        return [(running.job, outcome) for running, outcome in ended]
