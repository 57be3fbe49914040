"""The inside of a worker process: its share of the machine, one job, its output in a file, an ear for the parent."""

from __future__ import annotations

import _thread
import contextlib
import os
import pickle
import sys
import threading
import time
import traceback
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from hydra.core.plugins import Plugins

from ..errors import ConfigError, UserError
from ..hardware import usable_cores
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
