"""Worker pools: each job in a process of its own, here forked from a server that has everything imported."""

from __future__ import annotations

import _thread
import contextlib
import multiprocessing
import multiprocessing.context
import os
import pickle
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins

from ..errors import ConfigError
from ..system import usable_cores
from .jobs import Job, Outcome, execute

GRACE_SECONDS = 20.0
GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Running:
    """A job that runs, the file with its output, and its start in seconds of `time.perf_counter`."""

    job: Job
    log: Path
    started: float
    handle: Any = None
    """What the pool knows the job by."""


class Pool(ABC):
    """Up to `size` jobs at once, with their output and progress in files of the folder `logs`."""

    def __init__(self, size: int, logs: Path) -> None:
        self.size, self.logs = size, logs
        self.running: list[Running] = []

    @property
    def has_room(self) -> bool:
        """Return whether a further job could start now."""
        return len(self.running) < self.size

    def start(self, job: Job) -> Running:
        """Start `job`; there must be room."""
        job, log = watched(job, self.logs)
        self.running.append(running := Running(job, log, time.perf_counter(), self.launch(job, log)))
        return running

    def wait(self, seconds: float) -> list[tuple[Running, Outcome]]:
        """Return the jobs that end within `seconds`, as soon as there is one."""
        ready = self.ready(seconds) if self.running else []
        ended = [each for each in self.running if each.handle in ready]
        return [(each, self._end(each)) for each in ended]

    def interrupt(self) -> list[tuple[Running, Outcome]]:
        """End all running jobs as Ctrl-C would, after 20 seconds by force, and return their outcomes."""
        for each in self.running:
            self.cancel(each, force=False)
        deadline = time.perf_counter() + GRACE_SECONDS
        ended = []
        while self.running and time.perf_counter() < deadline:
            ended += self.wait(deadline - time.perf_counter())
        for each in self.running:
            self.cancel(each, force=True)
        return ended + [(each, self._end(each)) for each in list(self.running)]

    def close(self) -> None:
        """End what still runs."""
        self.interrupt()

    def _end(self, ended: Running) -> Outcome:
        self.running.remove(ended)
        return self.collect(ended)

    @abstractmethod
    def launch(self, job: Job, log: Path) -> Any:
        """Start `job` with its output in `log` and return a handle to it."""

    @abstractmethod
    def ready(self, seconds: float) -> Sequence[Any]:
        """Return the handles of jobs that end within `seconds`, as soon as there is one."""

    @abstractmethod
    def cancel(self, running: Running, *, force: bool) -> None:
        """Interrupt a job, or kill it."""

    @abstractmethod
    def collect(self, ended: Running) -> Outcome:
        """Return the outcome of a job that has ended, or has just been killed."""


def watched(job: Job, logs: Path) -> tuple[Job, Path]:
    """Return `job` with a file for its progress, and a file for its output, both in the folder `logs`."""
    logs.mkdir(parents=True, exist_ok=True)
    status = logs / f"job-{job.number}.progress"
    status.unlink(missing_ok=True)
    return replace(job, link=replace(job.link, status=status)), logs / f"job-{job.number}.log"


@dataclass(frozen=True)
class Slot:
    """Cores, and the GPU if there is one, of a worker; `threads` is the size of its thread pools.

    `threads` is the number of all cores in every slot, because a sum split over another number of threads is
    rounded differently: so a job gives the same weights in a sweep as alone.
    """

    cores: frozenset[int]
    threads: int
    gpu: str | None = None

    def occupy(self) -> None:
        """Bind this process, before its backend has started, to the slot."""
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self.cores)
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(self.threads)
        if self.gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu


def slots(count: int) -> list[Slot]:
    """Return the slots of `count` workers. Raise ConfigError for more workers than GPUs, if there are several GPUs."""
    cores, gpus = usable_cores(), _gpus()
    if len(gpus) > 1 and count > len(gpus):
        raise ConfigError(f"sweep.n_jobs or tuner.workers={count}: accepts at most {len(gpus)}, one job for each GPU")
    return [
        Slot(
            frozenset(cores[number % len(cores) :: count] if count <= len(cores) else [cores[number % len(cores)]]),
            len(cores),
            gpus[number] if count > 1 and len(gpus) > 1 else None,
        )
        for number in range(count)
    ]


def _gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA names them, without starting CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    return [str(number) for number in range(len(list(GPUS.iterdir())))] if GPUS.is_dir() else []


def start_fork_server(*, preload: bool = True) -> multiprocessing.context.ForkServerContext:
    """Return the context of processes forked from a server, which imports while its parent does other things.

    Without `preload` it imports nothing: for jobs that do not train.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"{__package__}.preloaded"] if preload else [])
    forkserver.ensure_running()
    return context


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    slot: Slot


class ProcessPool(Pool):
    """Jobs in processes of this machine, each with a share of its cores. Raises ConfigError for too few GPUs."""

    def __init__(self, size: int, logs: Path, *, preload: bool = True) -> None:
        super().__init__(size, logs)
        self.free = slots(size)
        self.context = start_fork_server(preload=preload)
        self.workers: dict[Connection, _Worker] = {}

    def launch(self, job: Job, log: Path) -> Connection:
        slot = self.free.pop(0)
        ours, theirs = self.context.Pipe()
        arguments = (pickle.dumps(job), slot, theirs, log)
        process = self.context.Process(target=_work, args=arguments, name=f"job-{job.number}")
        process.start()
        theirs.close()
        self.workers[ours] = _Worker(process, slot)
        return ours

    def ready(self, seconds: float) -> Sequence[Any]:
        return connection.wait(list(self.workers), timeout=seconds)

    def cancel(self, running: Running, *, force: bool) -> None:
        if force:
            self.workers[running.handle].process.kill()
        else:
            with contextlib.suppress(OSError):
                running.handle.send("stop")

    def collect(self, ended: Running) -> Outcome:
        worker = self.workers.pop(ended.handle)
        try:
            outcome: Outcome = ended.handle.recv()
        except (EOFError, OSError):
            outcome = Outcome("failed", time.perf_counter() - ended.started)
        worker.process.join()
        ended.handle.close()
        self.free.append(worker.slot)
        if outcome.status != "failed" or outcome.reason:
            return outcome
        code = worker.process.exitcode or 0
        return replace(outcome, reason=_reason(code, ended.log), transient=outcome.transient or code == -signal.SIGKILL)


def _reason(exit_code: int, log: Path) -> str:
    """Return why a worker ended without giving a reason: the signal, or the last line of its output."""
    if exit_code < 0:
        return f"its process was ended by signal {-exit_code}"
    lines: list[str] = []
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1].strip() if lines else 'no output'} (traceback in {log})"


def _work(job: bytes, slot: Slot, connection: Connection, log: Path) -> None:
    """Run the pickled `job` and send its outcome: the inside of a worker.

    Any message from the parent, or the parent's end, interrupts the job as Ctrl-C would.
    """
    os.setsid()  # Ctrl-C on the terminal reaches the parent alone, which then asks each worker once
    write_output_to(log)
    slot.occupy()
    threading.Thread(target=_listen, args=(connection,), daemon=True).start()
    Plugins.instance()  # imports Hydra's plugins, some of them anew: before anything of theirs is unpickled
    connection.send(execute(pickle.loads(job)))  # noqa: S301 - from the parent process


def _listen(connection: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    _thread.interrupt_main()


def write_output_to(log: Path) -> None:
    """Redirect the output of this process to the file `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        sys.stdout.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
