"""Whether requests should be gathered into batches: `python -m benchmarks.dynamic_batching`.

1, 8 and 32 callers ask for one image each, over and over, in threads as in the service. Plain: each call runs its own
image. Gathered: calls that wait are run as one batch by one thread. Prepared images, so that only the model is
compared; the two take turns, and the best of the rounds counts.
"""

from __future__ import annotations

import argparse
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from src.conversion.opening import open_model
from src.runtime.predictor import ImagePredictor
from src.synthetic.faces import draw_face

MOST = 32
Ask = Callable[[NDArray[np.uint8]], float]


def plain(classifier: ImagePredictor) -> Ask:
    """One image at a time."""
    return lambda image: float(classifier.probabilities(image[None])[0])


def gathered(classifier: ImagePredictor) -> Ask:
    """What waits is run together, at most `MOST` images, without waiting for more."""
    waiting: queue.SimpleQueue[tuple[NDArray[np.uint8], Future[float]]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            batch = [waiting.get()]
            while len(batch) < MOST and not waiting.empty():
                batch.append(waiting.get())
            probabilities = classifier.probabilities(np.stack([image for image, _ in batch]))
            for (_, future), probability in zip(batch, probabilities, strict=True):
                future.set_result(float(probability))

    threading.Thread(target=work, daemon=True).start()

    def ask(image: NDArray[np.uint8]) -> float:
        future: Future[float] = Future()
        waiting.put((image, future))
        return future.result()

    return ask


def measure(ask: Ask, faces: list[NDArray[np.uint8]], callers: int, seconds: float) -> tuple[float, float]:
    """Images a second and the 99th percentile of a call, in milliseconds."""
    until = time.perf_counter() + seconds

    def call(number: int) -> list[float]:
        times = []
        while (start := time.perf_counter()) < until:
            ask(faces[(number + len(times)) % len(faces)])
            times.append(time.perf_counter() - start)
        return times

    with ThreadPoolExecutor(callers) as pool:
        times = [spent for found in pool.map(call, range(callers)) for spent in found]
    return len(times) / seconds, 1000 * float(np.quantile(times, 0.99))


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="As for src.predict; the shipped one by default.")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    classifier = ImagePredictor(open_model(arguments.model))
    faces = [draw_face(7, index, classifier.bundle.image_size)[0] for index in range(64)]
    ways = {"plain": plain(classifier), "gathered": gathered(classifier)}
    table = Table(
        "callers", "way", "images/s", "p99, ms", title=f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"
    )
    for callers in (1, 8, 32):
        best: dict[str, tuple[float, float]] = {}
        for _ in range(arguments.rounds):
            for name, ask in ways.items():
                found = measure(ask, faces, callers, arguments.seconds)
                best[name] = max(best.get(name, found), found)
        for name, (rate, worst) in best.items():
            table.add_row(str(callers), name, f"{rate:.0f}", f"{worst:.1f}")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
