"""Memory and time of a data set's table without its pixels: `python -m benchmarks.table_memory [COUNT ...]`.

Each count is prepared from scratch, in a process of its own, from images whose names and facts are made up instead
of found and decoded. All the rest is real: samples, recognizing copies, grouping hashes, digests, writing, reading
back, splitting. Prints seconds, the peak, and how much each further image takes of it.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from unittest import mock

from rich.console import Console
from rich.table import Table

from src.config import DatasetConfig
from src.data import building
from src.data.decoding import DecodedSample, Preparation
from src.data.locators import FileLocator
from src.data.prepared import prepare
from src.data.samples import Sample
from src.data.sources.folders import Listing, register_source

SIDE = 8  # pixels are not what is measured
STATISTICS = ("brightness", "contrast", "saturation", "sharpness", "red", "green", "blue")


def main(*counts: int) -> None:
    """Print a row for each count."""
    table = Table("images", "seconds", "peak MB", "kB for each further image", title="a table of file images")
    earlier: tuple[int, float] | None = None
    for count in counts or (10_000, 100_000, 1_000_000):
        seconds, peak = measured(count)
        each = (peak - earlier[1]) / (count - earlier[0]) / 1000 if earlier else float("nan")
        table.add_row(f"{count:,}", f"{seconds:.1f}", f"{peak / 1e6:.0f}", f"{each:.2f}")
        earlier = count, peak
    Console().print(table)


def measured(count: int) -> tuple[float, float]:
    """Seconds of preparing the table of `count` images in a process of its own, and its peak memory in bytes."""
    with multiprocessing.get_context("spawn").Pool(1) as alone:
        return alone.apply(_prepare, (count,))


def _prepare(count: int) -> tuple[float, float]:
    register_source("made_up")(lambda config: Listing([_sample(index) for index in range(int(config.path or 0))]))
    started = time.perf_counter()
    with mock.patch.object(building, "decode_samples", _made_up), tempfile.TemporaryDirectory() as cache:
        prepare(DatasetConfig("made_up", "made_up", str(count), image_size=SIDE, crop_duplicates=False, cache=cache))
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _sample(index: int) -> Sample:
    locator = FileLocator(f"/images/{index:08}.jpg", 9000, 10**18 + index)
    return Sample(f"class{index % 2}/image_{index:08}.jpg", index % 2, locator)


def _made_up(
    samples: Iterable[Sample],
    count: int,
    *_: Preparation | int | str | None,
) -> Iterator[tuple[int, Sample, DecodedSample]]:
    for slot, sample in enumerate(samples):
        random = hashlib.sha256(sample.path.encode())
        phash, dhash, *_ = struct.unpack("<4Q", random.digest())
        facts = {"width": 320, "height": 240, "format": "JPEG", "mode": "RGB", "bytes": 9000, "color": "color"}
        facts |= {"pixel_digest": random.hexdigest()[:16], "phash": phash, "dhash": dhash}
        facts |= dict.fromkeys(STATISTICS, slot / count)
        yield slot, sample, DecodedSample("ok", "", random.hexdigest(), facts)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
