"""Memory and time of a data set's table without its pixels: `python -m benchmarks.table_memory [COUNT ...]`.

Each count is built from scratch, in a process of its own, from pictures whose facts are made up instead of decoded;
listing, recognizing copies, grouping hashes, digests and writing are the real ones. Prints seconds, the peak, and how
much each further picture takes of it.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

from src.config import DatasetConfig
from src.data import building
from src.data.decoding import Outcome, Preparation
from src.data.locators import FileLocator
from src.data.samples import Sample
from src.data.sources.listing import Listing

SIDE = 8  # pixels are not what is measured
STATISTICS = ("brightness", "contrast", "saturation", "sharpness", "red", "green", "blue")


def main(*counts: int) -> None:
    """Print a row for each count."""
    table = Table("pictures", "seconds", "peak MB", "kB for each further picture", title="a table of file pictures")
    earlier: tuple[int, float] | None = None
    for count in counts or (10_000, 100_000, 1_000_000):
        with multiprocessing.get_context("spawn").Pool(1) as alone:
            seconds, peak = alone.apply(build_table, (count,))
        each = (peak - earlier[1]) / (count - earlier[0]) / 1000 if earlier else float("nan")
        table.add_row(f"{count:,}", f"{seconds:.1f}", f"{peak / 1e6:.0f}", f"{each:.2f}")
        earlier = count, peak
    Console().print(table)


def build_table(count: int) -> tuple[float, float]:
    """Seconds of building the table of `count` pictures, and the peak memory of this process in bytes."""
    config = DatasetConfig("folders", "folders", image_size=SIDE, crop_duplicates=False)
    started = time.perf_counter()
    samples = [
        Sample(
            f"class{index % 2}/picture_{index:08}.jpg", index % 2, FileLocator(f"/pictures/{index:08}.jpg", 9000, index)
        )
        for index in range(count)
    ]
    made_up = mock.patch.object(building, "decode_samples", _made_up)
    with made_up, tempfile.TemporaryDirectory() as folder:
        building.build(Path(folder), samples, Listing(samples), config, lambda *_: None)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _made_up(
    samples: Iterable[Sample],
    count: int,
    preparation: Preparation,  # noqa: ARG001
    workers: int | None,  # noqa: ARG001
) -> Iterator[tuple[int, Sample, Outcome]]:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, (count, 2), dtype=np.uint64)
    values = random.random((count, len(STATISTICS)), dtype=np.float32)
    for slot, sample in enumerate(samples):
        sha256 = hashlib.sha256(sample.path.encode()).hexdigest()
        facts = {"width": 320, "height": 240, "format": "JPEG", "mode": "RGB", "bytes": 9000, "colour": "colour"}
        facts |= {"pixel_digest": sha256[:16], "phash": int(hashes[slot, 0]), "dhash": int(hashes[slot, 1])}
        facts |= dict(zip(STATISTICS, values[slot].tolist(), strict=True))
        yield slot, sample, Outcome("ok", "", sha256, facts)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
