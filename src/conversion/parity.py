"""Agreement of an exported format with the Keras model, and its cost, as a table and as metrics."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from rich.table import Table

from ..errors import BundleError
from ..metrics.intervals import Score, proportion
from ..runtime.bundle import Bundle
from ..runtime.runners import RUNNERS
from ..system import end_with_parent

BATCHES, THREADS = (1, 32), (1, 2)
CALLS, MAX_SECONDS = 50, 1.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one batch: the median and the 95th percentile."""

    batch: int
    threads: int
    median: float
    p95: float


@dataclass(frozen=True)
class Cost:
    """Latency by batch and threads; `memory`, in bytes, is what loading and running added to the process."""

    latencies: tuple[Latency, ...]
    memory: int

    def median(self, batch: int, threads: int = 1) -> float:
        """The median latency for one batch size."""
        return next(found.median for found in self.latencies if (found.batch, found.threads) == (batch, threads))


def measure(file: Path, model_format: str, size: int) -> Cost:
    """Measure a LiteRT or ONNX file on images of `size` by `size` pixels, in a fresh process without TensorFlow."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent) as pool:
        return pool.submit(_measure, file, model_format, size).result()


def _measure(file: Path, model_format: str, size: int) -> Cost:
    images = np.random.default_rng(0).integers(0, 256, (max(BATCHES), size, size, 3), np.uint8)
    before = _memory()
    found = []
    for threads in THREADS:
        run = RUNNERS[model_format](file, size, threads)
        for batch in BATCHES:
            times = _times(lambda run=run, batch=batch: run(images[:batch]))  # type: ignore[misc]
            found.append(Latency(batch, threads, float(np.median(times)), float(np.percentile(times, 95))))
    return Cost(tuple(found), _memory() - before)


def _times(call: Callable[[], object]) -> list[float]:
    """Milliseconds of repeated calls after two that warm up: at most `CALLS` of them and about `MAX_SECONDS`."""
    for _ in range(2):
        call()
    times: list[float] = []
    while len(times) < CALLS and sum(times) < 1000 * MAX_SECONDS:
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return times


def _memory() -> int:
    """The resident size now, in bytes."""
    return int(psutil.Process().memory_info().rss)


@dataclass(frozen=True)
class Parity:
    """One format against Keras on the same images: differences of the calibrated probability, decisions that
    changed, accuracy with its 95 % interval; `size` in bytes. `cost` is None for Keras itself.
    """

    model_format: str
    size: int
    largest: float
    mean: float
    changed: int
    images: int
    accuracy: Score
    cost: Cost | None

    def check(self, tolerance: float, int8_tolerance: float) -> None:
        """Raise BundleError for a float format that differs by more than `tolerance` on any image, or for int8 where
        it differs by more than `int8_tolerance` on the mean image.
        """
        found, limit, which = self.largest, tolerance, "largest"
        if self.model_format == "int8":
            found, limit, which = self.mean, int8_tolerance, "mean"
        if not found <= limit:
            raise BundleError(
                f"format {self.model_format}: the {which} difference to Keras is {found:.2g} on {self.images} "
                f"validation images, past its tolerance of {limit:g}"
            )


def compare_outputs(
    bundle: Bundle,
    model_format: str,
    reference: NDArray[np.floating],
    found: NDArray[np.floating],
    labels: NDArray[np.floating],
    cost: Cost | None,
) -> Parity:
    """Compare a format's own probabilities `found` (n,) with Keras's `reference` (n,) as `bundle` decides on them."""
    expected, got = bundle.calibrated(reference), bundle.calibrated(found)
    predicted = got >= bundle.threshold
    difference = np.abs(got - expected)
    right = predicted == labels.astype(bool)
    return Parity(
        model_format=model_format,
        size=bundle.model_file(model_format).stat().st_size,
        largest=float(difference.max()),
        mean=float(difference.mean()),
        changed=int((predicted != (expected >= bundle.threshold)).sum()),
        images=len(labels),
        accuracy=proportion(right),
        cost=cost,
    )


def parity_table(parities: Sequence[Parity]) -> Table:
    """The comparison, for a person."""
    table = Table(title=f"Formats against Keras on {parities[0].images:,} validation images", title_justify="left")
    for title in ("", *(parity.model_format for parity in parities)):
        table.add_column(title, justify="right" if title else "left")
    for cells in table_rows(parities):
        table.add_row(*cells)
    return table


def parity_metrics(parities: Sequence[Parity]) -> dict[str, float]:
    """The comparison as flat metrics: `export/int8/mean_difference` and so on."""
    metrics: dict[str, float] = {}
    for parity in parities:
        values = {
            "bytes": parity.size,
            "largest_difference": parity.largest,
            "mean_difference": parity.mean,
            "changed_decisions": parity.changed,
            "accuracy": parity.accuracy.value,
            "accuracy_low": parity.accuracy.low,
            "accuracy_high": parity.accuracy.high,
        }
        if parity.cost:
            values["memory"] = parity.cost.memory
            for found in parity.cost.latencies:
                place = f"batch{found.batch}_threads{found.threads}"
                values |= {f"{place}_median_ms": found.median, f"{place}_p95_ms": found.p95}
        metrics |= {f"export/{parity.model_format}/{name}": float(value) for name, value in values.items()}
    return metrics


_ROWS = ("kB", "accuracy", "95 % interval", "largest difference", "mean difference", "changed decisions")
_COST_ROWS = ("1 image, ms (p95)", "32 images, ms (p95)", "32 on 2 threads", "memory, MB")


def table_rows(parities: Sequence[Parity]) -> list[tuple[str, ...]]:
    """A row for each measure and a column for each format, so that a terminal's width is enough."""
    return list(zip((*_ROWS, *_COST_ROWS), *(_cells(parity) for parity in parities), strict=True))


def _cells(parity: Parity) -> list[str]:
    accuracy = parity.accuracy
    cells = [f"{parity.size / 1000:,.0f}", f"{accuracy.value:.4f}", f"{accuracy.low:.3f} to {accuracy.high:.3f}"]
    cells += [f"{parity.largest:.1e}", f"{parity.mean:.1e}", str(parity.changed)]
    if parity.cost is None:
        return [*cells, *["-"] * len(_COST_ROWS)]
    by_place = {(found.batch, found.threads): found for found in parity.cost.latencies}
    places = [by_place[place] for place in ((1, 1), (32, 1), (32, 2))]
    return [*cells, *(f"{at.median:.2f} ({at.p95:.2f})" for at in places), f"{parity.cost.memory / 1e6:.0f}"]
