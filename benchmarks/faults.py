"""Inject faults and print what held: `python -m benchmarks.faults [NAME[=TRIALS] ...]`.

Without names all faults are injected, as often as `FAULTS` says. Everything happens in temporary folders. Exits with 1
where something was lost, doubled, taken as sound or left open, or ended in a traceback.
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

from benchmarks.damaged_files import damaged_lists, flipped_bits, torn_states
from benchmarks.killed_processes import (
    killed_preparations,
    killed_runs,
    killed_workers,
    killed_writes,
    starved_workers,
    two_sweeps,
)
from benchmarks.outages import full_disks, hanging_server, read_only_tree
from benchmarks.small_runs import Outcome
from benchmarks.soaks import soak_of_command, soak_of_runs, soak_of_service

FAULTS: dict[Callable[[Path, int], Outcome], int] = {
    torn_states: 300,
    flipped_bits: 150,
    damaged_lists: 3000,
    killed_runs: 50,
    killed_writes: 10,
    killed_preparations: 10,
    killed_workers: 5,
    starved_workers: 5,
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
    counts = {fault.__name__: (fault, trials) for fault, trials in FAULTS.items()}
    wanted = dict(name.partition("=")[::2] for name in chosen) or dict.fromkeys(counts, "")
    if unknown := wanted.keys() - counts.keys():
        sys.exit(f"{', '.join(sorted(unknown))}: no such fault; there are {', '.join(counts)}")
    table, sound = Table("fault", "trials", "held", "what was seen", "minutes", title="faults injected"), True
    for name, trials in wanted.items():
        with tempfile.TemporaryDirectory(prefix="happy-sad-faults-") as folder:
            started = time.monotonic()
            outcome = counts[name][0](Path(folder), int(trials or counts[name][1]))
        minutes = (time.monotonic() - started) / 60
        sound = sound and outcome.held == outcome.trials
        row = (name.replace("_", " "), f"{outcome.trials:,}", f"{outcome.held:,}", outcome.seen, f"{minutes:.1f}")
        table.add_row(*row)
        print(" | ".join(row), flush=True)
    Console(width=160).print(table)
    print(f"load average at the end: {os.getloadavg()[0]:.1f}")
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
