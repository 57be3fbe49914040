"""Peak memory of preparing 10,000 and 100,000 faces: `python -m benchmarks.prepare_memory [SIZE] [COUNT ...]`.

Each count is prepared from scratch in a process of its own, with two workers. The peak is that of all its processes
together, each page counted once among those that share it, sampled twenty times a second.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

import psutil
from rich.console import Console
from rich.table import Table

PREPARE = """
import sys
from src.config import DatasetConfig, SyntheticConfig
from src.data.prepared import prepare
if __name__ == "__main__":
    prepare(DatasetConfig("synthetic", "synthetic", image_size=int(sys.argv[1]),
                          near_duplicate_distance=None, workers=2,
                          cache=sys.argv[3], synthetic=SyntheticConfig(count=int(sys.argv[2]))))
"""


def main(size: int = 64, *counts: int) -> None:
    """Print seconds and peak memory for each count of faces."""
    table = Table("faces", "seconds", "faces/s", "peak MB", title=f"preparing synthetic faces of {size}x{size}x3")
    for count in counts or (10_000, 100_000):
        with tempfile.TemporaryDirectory() as cache:
            seconds, peak = prepare_faces(size, count, cache)
        table.add_row(f"{count:,}", f"{seconds:.0f}", f"{count / seconds:.0f}", f"{peak / 1e6:.0f}")
    Console().print(table)


def prepare_faces(size: int, count: int, cache: str) -> tuple[float, int]:
    """Seconds, and the peak memory of all processes together in bytes."""
    started, peak = time.perf_counter(), 0
    child = subprocess.Popen([sys.executable, "-c", PREPARE, str(size), str(count), cache])
    process = psutil.Process(child.pid)
    while child.poll() is None:
        peak = max(peak, _memory_of(process))
        time.sleep(0.05)
    if child.returncode:
        raise SystemExit(child.returncode)
    return time.perf_counter() - started, peak


def _memory_of(process: psutil.Process) -> int:
    try:
        return sum(member.memory_full_info().pss for member in [process, *process.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
