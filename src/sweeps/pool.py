"""Worker processes: one for each job, forked from a server that has everything imported and nothing started."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.context
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from .jobs import Job, Outcome
from .worker import Slot, slots, work

GRACE_SECONDS = 20.0


def start_fork_server(*, preload: bool = True) -> multiprocessing.context.ForkServerContext:
    """The context of processes that are forked from a server, which imports while its parent does other things.

    Without `preload` it imports nothing: for jobs that do not train.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"{__package__}.preloaded"] if preload else [])
    forkserver.ensure_running()
    return context


@dataclass(frozen=True)
class Running:
    """A job on its way: where its output goes, and when it was started, in seconds of `time.perf_counter`."""

    job: Job
    log: Path
    started: float


@dataclass(frozen=True)
class RunningProcess(Running):
    """A job in a process of this machine."""

    slot: Slot
    process: BaseProcess
    connection: Connection


class Backend(Protocol):
    """Where jobs run: here, in processes (`Pool`), or on a cluster (`ray_pool.RayPool`)."""

    @property
    def free(self) -> Sequence[object]:
        """One for each further job that could start now."""

    @property
    def running(self) -> Sequence[Running]:
        """The jobs on their way."""

    def start(self, job: Job) -> Running:
        """Start a job; there must be room."""

    def wait(self, seconds: float) -> Sequence[tuple[Running, Outcome]]:
        """The jobs that end within `seconds`, as soon as there is one."""

    def interrupt(self) -> Sequence[tuple[Running, Outcome]]:
        """End all running jobs as Ctrl-C would, and give what became of them."""

    def close(self) -> None:
        """End what still runs, for good."""


class Pool:
    """Up to `size` jobs at once. Each has a process of its own, so nothing is left over from job to job.

    Raises ConfigError where there are fewer GPUs than `size`.
    """

    def __init__(self, size: int, logs: Path, *, preload: bool = True) -> None:
        self.logs = logs
        self.free = slots(size)
        self.running: list[RunningProcess] = []
        self.context = start_fork_server(preload=preload)

    def start(self, job: Job) -> RunningProcess:
        """Start `job` on a free slot."""
        slot = self.free.pop(0)
        ours, theirs = self.context.Pipe()
        job, log = watched(job, self.logs)
        process = self.context.Process(
            target=work, args=(pickle.dumps(job), slot, theirs, log), name=f"job-{job.number}"
        )
        process.start()
        theirs.close()
        running = RunningProcess(job, log, time.perf_counter(), slot, process, ours)
        self.running.append(running)
        return running

    def wait(self, seconds: float) -> list[tuple[RunningProcess, Outcome]]:
        """The jobs that end within `seconds`, as soon as there is one."""
        ready = connection.wait([each.connection for each in self.running], timeout=seconds)
        return [(each, self._collect(each)) for each in list(self.running) if each.connection in ready]

    def interrupt(self) -> list[tuple[RunningProcess, Outcome]]:
        """End all running jobs as Ctrl-C would, those that do not answer by force, and give what became of them."""
        for each in self.running:
            with contextlib.suppress(OSError):
                each.connection.send("stop")
        deadline = time.perf_counter() + GRACE_SECONDS
        ended = []
        while self.running and time.perf_counter() < deadline:
            ended += self.wait(deadline - time.perf_counter())
        for each in self.running:
            each.process.kill()
        return ended + [(each, self._collect(each)) for each in list(self.running)]

    def close(self) -> None:
        """End what still runs."""
        self.interrupt()

    def _collect(self, ended: RunningProcess) -> Outcome:
        try:
            outcome: Outcome = ended.connection.recv()
        except (EOFError, OSError):
            outcome = Outcome("failed", time.perf_counter() - ended.started)
        ended.process.join()
        ended.connection.close()
        self.running.remove(ended)
        self.free.append(ended.slot)
        return outcome if outcome.status != "failed" or outcome.reason else replace(outcome, reason=_why(ended))


def watched(job: Job, logs: Path) -> tuple[Job, Path]:
    """`job` with a file for its progress, and a file for its output, both in the folder `logs`."""
    logs.mkdir(parents=True, exist_ok=True)
    status = logs / f"job-{job.number}.progress"
    status.unlink(missing_ok=True)
    return replace(job, link=replace(job.link, status=status)), logs / f"job-{job.number}.log"


def _why(ended: RunningProcess) -> str:
    """The reason of a worker that ended without a word: the signal, or the last line of its output."""
    code = ended.process.exitcode or 0
    if code < 0:
        return f"its process was ended by signal {-code}"
    lines: list[str] = []
    with contextlib.suppress(OSError), ended.log.open("rb") as file:
        file.seek(max(0, ended.log.stat().st_size - 2000))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1].strip() if lines else 'no output'} (traceback in {ended.log})"
