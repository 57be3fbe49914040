"""Load the service over loopback: `python -m benchmarks.serve_load --clients 16 --seconds 10`.

Each client sends one synthetic face after another, over one connection, to a service in a process of its own. Prints
images a second and how long a request takes. Clients and service share the machine's cores, so that a real service is
somewhat faster. A busy answer (503) is counted, and sent again after a pause.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from dataclasses import dataclass, field
from io import BytesIO

import httpx
import numpy as np
from PIL import Image
from rich.console import Console

from benchmarks.serving import serving
from src.synthetic.faces import draw_face

PAUSE_SECONDS = 0.05


@dataclass
class Load:
    """Seconds that each answered request took, and how many were turned away."""

    seconds: list[float] = field(default_factory=list)
    turned_away: int = 0


def images(count: int = 32, size: int = 256) -> list[bytes]:
    """Synthetic faces as JPEG files."""
    found = []
    for index in range(count):
        stream = BytesIO()
        Image.fromarray(draw_face(7, index, size)[0]).save(stream, "JPEG", quality=90)
        found.append(stream.getvalue())
    return found


async def client(url: str, files: list[bytes], until: float, load: Load) -> None:
    """Send images one after another until the clock, `time.perf_counter`, says `until`."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as session:
        number = 0
        while time.perf_counter() < until:
            start = time.perf_counter()
            answer = await session.post("/v1/predict", content=files[number % len(files)])
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                load.turned_away += 1
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            answer.raise_for_status()
            load.seconds.append(time.perf_counter() - start)
            number += 1


async def put_load(url: str, clients: int, seconds: float) -> Load:
    """`clients` at once for `seconds`."""
    files, load, until = images(), Load(), time.perf_counter() + seconds
    await asyncio.gather(*(client(url, files, until, load) for _ in range(clients)))
    return load


def small_answer_seconds(url: str, count: int = 10) -> float:
    """The fastest of `count` small answers over one connection; 0.04 or more where the socket waits to fill packets."""
    with httpx.Client(base_url=url) as session:
        session.get("/healthz")
        return min(session.post("/v1/predict", content=b"no image").elapsed.total_seconds() for _ in range(count))


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--url", help="A service that runs already; by default one is started.")
    arguments = parser.parse_args()
    busy = os.getloadavg()[0]
    if arguments.url:
        load = asyncio.run(put_load(arguments.url, arguments.clients, arguments.seconds))
    else:
        with serving("--no-page") as server:
            asyncio.run(put_load(server.url, 1, 1))  # warm
            load = asyncio.run(put_load(server.url, arguments.clients, arguments.seconds))
            print(f"the fastest of 10 small answers: {1000 * small_answer_seconds(server.url):.1f} ms")
    half, worst = (1000 * float(np.quantile(load.seconds, share)) for share in (0.5, 0.99))
    rate = len(load.seconds) / arguments.seconds
    Console(highlight=False, soft_wrap=True).print(
        f"{arguments.clients} clients, {arguments.seconds:g} s: {rate:.0f} images a second, p50 {half:.1f} ms, "
        f"p99 {worst:.1f} ms, {load.turned_away} turned away; load average before {busy:.1f}, {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
