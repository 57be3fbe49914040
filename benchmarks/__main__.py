"""Every row of the table in `RESULTS.md`, in 10 to 35 minutes on two idle cores: `python -m benchmarks [ROUNDS]`.

Each group of rows is measured in a process of its own, so that none inherits the memory and threads of another.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.command_speed import command_rows
from benchmarks.data_speed import data_rows
from benchmarks.harness import ROUNDS, Row, header, show, write
from benchmarks.training_speed import training_rows

GROUPS: tuple[Callable[[Path, int], list[Row]], ...] = (training_rows, command_rows, data_rows)


def main(rounds: int = ROUNDS) -> None:
    """Measure, print each group as it is done, and write the table."""
    about, rows, started = header(), [], time.perf_counter()
    for group in GROUPS:
        alone = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with tempfile.TemporaryDirectory() as folder, alone as pool:
            found = pool.submit(group, Path(folder), rounds).result()
        show(found)
        rows += found
    about["load at the end"] = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    about["took"] = f"{(time.perf_counter() - started) / 60:.0f} minutes, {rounds} rounds"
    write(about, rows)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
