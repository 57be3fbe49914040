"""The inside of a worker process: its share of the machine, one job, its output in a file, an ear for the parent."""

from __future__ import annotations

import _thread
import contextlib
import multiprocessing
import multiprocessing.context
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from hydra.core.plugins import Plugins

from ..errors import ConfigError, UserError
from ..system import usable_cores
from .jobs import Job, Outcome

GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Slot:
    """The cores, and the GPU if there is one, that a worker may use; `threads` is the size of its thread pools.

    `threads` is the number of all cores whatever the share, because a sum split over another number of threads is
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
    """The slots of `count` workers. Raises ConfigError for more workers than GPUs, where there are GPUs."""
    cores = usable_cores()
    gpus = _gpus()
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
    """The GPUs that this process may use, as CUDA names them; found without starting CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    return [str(number) for number in range(len(list(GPUS.iterdir())))] if GPUS.is_dir() else []


def work(job: bytes, slot: Slot, connection: Connection, log: Path) -> None:
    """Run the pickled `job` and send its Outcome.

    Whatever the parent sends, or its end, interrupts the job as Ctrl-C would.
    """
    os.setsid()  # Ctrl-C on the terminal reaches the parent alone, which then asks each worker once
    write_output_to(log)
    slot.occupy()
    threading.Thread(target=_listen, args=(connection,), daemon=True).start()
    Plugins.instance()  # imports Hydra's plugins, some of them anew: before anything of theirs is unpickled
    connection.send(run(pickle.loads(job)))  # noqa: S301 - from the parent process


def run(job: Job) -> Outcome:
    """The job itself. A defect leaves its traceback in the output, and no reason."""
    start = time.perf_counter()
    try:
        outcome = job.run()
    except UserError as error:
        outcome = Outcome("failed", reason=str(error))
    except KeyboardInterrupt:
        outcome = Outcome("killed", reason="interrupted")
    except Exception:  # noqa: BLE001 - a defect of one job ends that job alone
        traceback.print_exc()
        outcome = Outcome("failed")
    return replace(outcome, seconds=time.perf_counter() - start)


def _listen(connection: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    _thread.interrupt_main()


def write_output_to(log: Path) -> None:
    """Send what this process writes to the file `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        sys.stdout.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


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
