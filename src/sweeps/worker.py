"""The inside of a worker process: one job, its output in a file, an ear for the parent."""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from ..errors import UserError
from .devices import Slot
from .jobs import Job, Outcome, finished


def work(job: Job, slot: Slot, connection: Connection, log: Path) -> None:
    """Run `job` and send its Outcome; any other exception is a defect whose traceback goes to `log`.

    Whatever the parent sends, or its end, interrupts the job as Ctrl-C would.
    """
    os.setsid()  # Ctrl-C on the terminal reaches the parent alone, which then asks each worker once
    write_output_to(log)
    slot.occupy()
    threading.Thread(target=_listen, args=(connection,), daemon=True).start()
    connection.send(run(job))


def run(job: Job) -> Outcome:
    """The job itself; an exception that is not the user's to mend is let through."""
    start = time.perf_counter()
    try:
        from ..train import train

        return finished(train(job.config, job.overrides, job.link), time.perf_counter() - start)
    except UserError as error:
        return Outcome("failed", time.perf_counter() - start, reason=str(error))
    except KeyboardInterrupt:
        return Outcome("killed", time.perf_counter() - start, reason="interrupted")


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
