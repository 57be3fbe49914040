"""Faults: `python -m benchmarks faults [NAME[=TRIALS] ...]` injects them and prints what held.

Everything happens in temporary folders. Exits with 1 where something was lost, doubled, taken as sound or left open, or
ended in a traceback.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.damaged_lists import damaged_lists
from benchmarks.harness import amounts
from benchmarks.killed_processes import (
    killed_preparations,
    killed_runs,
    killed_searches,
    killed_sweeps,
    killed_workers,
    killed_writes,
    starved_workers,
    two_sweeps,
)
from benchmarks.outages import full_disks, hanging_server, read_only_tree
from benchmarks.small_runs import Outcome
from benchmarks.soaks import soak_of_command, soak_of_runs, soak_of_service

FAULTS: dict[Callable[[Path, int], Outcome], int] = {
    damaged_lists: 3000,
    killed_runs: 50,
    killed_writes: 10,
    killed_preparations: 10,
    killed_workers: 5,
    starved_workers: 5,
    killed_sweeps: 20,
    killed_searches: 20,
    two_sweeps: 3,
    hanging_server: 5,
    full_disks: 12,
    read_only_tree: 1,
    soak_of_service: 100_000,
    soak_of_command: 100_000,
    soak_of_runs: 500,
}
"""How often each fault is injected: an hour or two in all."""


def main(*chosen: str) -> None:
    """Inject the faults named by `NAME` or `NAME=TRIALS`, or all, and print a line for each as it is done."""
    faults = {fault.__name__: fault for fault in FAULTS}
    wanted = amounts(chosen, {fault.__name__: str(trials) for fault, trials in FAULTS.items()})
    table, sound = Table("fault", "trials", "held", "what was seen", "minutes", title="faults injected"), True
    for name, trials in wanted.items():
        with tempfile.TemporaryDirectory(prefix="happy-sad-faults-") as folder:
            started = time.monotonic()
            outcome = faults[name](Path(folder), int(trials))
        minutes = (time.monotonic() - started) / 60
        sound = sound and outcome.held == outcome.trials
        row = (name.replace("_", " "), f"{outcome.trials:,}", f"{outcome.held:,}", outcome.seen, f"{minutes:.1f}")
        table.add_row(*row)
        print(" | ".join(row), flush=True)
    Console(width=160).print(table)
    print(f"load average at the end: {os.getloadavg()[0]:.1f}")
    sys.exit(0 if sound else 1)
