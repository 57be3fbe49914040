"""Speed against yardsticks, measured in turn: `python -m benchmarks speed [GROUP[=ROUNDS] ...]`.

All groups take 10 to 35 minutes on two idle cores and are written to RESULTS.md; named ones are only printed. Each is
measured in a process of its own, so that none inherits the memory and threads of another. `score` needs FER-2013:
`python -m benchmarks speed score=FER.zip`.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.harness import ROUNDS, Row, amounts, header, show, write
from benchmarks.speed_of_commands import command_rows
from benchmarks.speed_of_data import data_rows
from benchmarks.speed_of_training import score_rows, training_rows

GROUPS = {"training": training_rows, "commands": command_rows, "data": data_rows}


def main(*chosen: str) -> None:
    """Measure, print each group as it is done, and write the table if no group was chosen."""
    about, rows, started = header(), list[Row](), time.perf_counter()
    for name, amount in amounts(chosen, {**dict.fromkeys(GROUPS, str(ROUNDS)), "score": ""}).items():
        if name == "score" and not amount:
            continue
        rows_of = partial(score_rows, Path(amount)) if name == "score" else partial(GROUPS[name], rounds=int(amount))
        alone = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with tempfile.TemporaryDirectory() as folder, alone as pool:
            found = pool.submit(rows_of, Path(folder)).result()
        show(found)
        rows += found
    about["load at the end"] = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    about["took"] = f"{(time.perf_counter() - started) / 60:.0f} minutes, {ROUNDS} rounds"
    if not chosen:
        write(about, rows)
