"""What a format costs where it runs: latency and memory, measured in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from src.inference.runners import Runner, litert_runner, onnx_runner

BATCHES, THREADS = (1, 32), (1, 2)
CALLS, MOST_SECONDS = 50, 1.0
_RUNNERS: dict[str, Callable[[Path, int, int], Runner]] = {
    "litert": litert_runner,
    "int8": litert_runner,
    "onnx": onnx_runner,
}


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
    """Measure a LiteRT or ONNX file on pictures of `size` by `size` pixels, in a fresh process without TensorFlow."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, file, model_format, size).result()


def _measure(file: Path, model_format: str, size: int) -> Cost:
    pictures = np.random.default_rng(0).integers(0, 256, (max(BATCHES), size, size, 3), np.uint8)
    before = _memory()
    found = []
    for threads in THREADS:
        run = _RUNNERS[model_format](file, size, threads)
        for batch in BATCHES:
            times = _times(lambda run=run, batch=batch: run(pictures[:batch]))  # type: ignore[misc]
            found.append(Latency(batch, threads, float(np.median(times)), float(np.percentile(times, 95))))
    return Cost(tuple(found), _memory() - before)


def _times(call: Callable[[], object]) -> list[float]:
    """Milliseconds of repeated calls after two that warm up: at most `CALLS` of them and about `MOST_SECONDS`."""
    for _ in range(2):
        call()
    times: list[float] = []
    while len(times) < CALLS and sum(times) < 1000 * MOST_SECONDS:
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return times


def _memory() -> int:
    """The resident size now, in bytes."""
    return int(psutil.Process().memory_info().rss)
