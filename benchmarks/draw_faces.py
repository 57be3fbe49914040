"""How fast faces are drawn, on one worker process and on two: `python -m benchmarks.draw_faces [COUNT]`."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from rich.console import Console
from rich.table import Table

from src.synthetic.faces import draw_face

SEED = 0


def main(count: int = 1200, size: int = 256) -> None:
    """Draw `count` faces of `size` pixels with one and with two workers and print a table of the rates."""
    rates = {workers: _faces_per_second(workers, count, size) for workers in (1, 2)}
    table = Table("workers", "faces/s", "ms a face", "ratio", title=f"{count} faces at {size}x{size}x3")
    for workers, rate in rates.items():
        table.add_row(str(workers), f"{rate:.0f}", f"{1000 / rate:.2f}", f"{rate / rates[1]:.2f}")
    Console().print(table)


def _faces_per_second(workers: int, count: int, size: int) -> float:
    with ProcessPoolExecutor(workers) as pool:
        # The first faces start the workers and fill their caches.
        list(pool.map(partial(_draw, size), range(4 * workers)))
        start = time.perf_counter()
        list(pool.map(partial(_draw, size), range(count), chunksize=16))
        return count / (time.perf_counter() - start)


def _draw(size: int, index: int) -> int:
    """Draw one face and leave it there: what it costs to hand images over is not asked here."""
    image, _ = draw_face(SEED, index, size)
    return int(image.shape[0])


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
