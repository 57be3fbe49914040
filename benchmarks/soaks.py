"""Many runs and many predictions, and what they leave: memory, handles, threads, the size of the store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.serve_load import images
from benchmarks.serving import serving
from benchmarks.small_runs import Outcome, command, runs_of
from src.config import PROJECT_ROOT

CLIENTS, AT_ONCE = 4, 20
MAX_GROWTH = 1.15
"""What memory may grow by from a fifth of a soak to its end: allocators keep what threads once needed."""


@dataclass
class Samples:
    """A process's memory (MB), handles and threads over time."""

    pid: int
    found: list[tuple[float, int, int]] = field(default_factory=list)

    def take(self) -> None:
        """Look once, if the process is there."""
        try:
            process = psutil.Process(self.pid)
            self.found.append((process.memory_info().rss / 1e6, process.num_fds(), process.num_threads()))
        except psutil.Error:
            pass

    @property
    def early(self) -> tuple[float, int, int]:
        """The most of each in the second tenth, when all has been used once."""
        part = self.found[len(self.found) // 10 : max(len(self.found) // 5, len(self.found) // 10 + 1)]
        return max(row[0] for row in part), max(row[1] for row in part), max(row[2] for row in part)

    @property
    def late(self) -> tuple[float, int, int]:
        """The most of each in the last tenth but the very end."""
        part = self.found[-max(len(self.found) // 10, 3) : -1] or self.found
        return max(row[0] for row in part), max(row[1] for row in part), max(row[2] for row in part)

    @property
    def are_flat(self) -> bool:
        """Whether nothing grew."""
        memory, handles, threads = self.early
        return self.late[0] <= MAX_GROWTH * memory and self.late[1] <= handles + 5 and self.late[2] <= threads + 5

    def __str__(self) -> str:
        pairs = zip(self.early, self.late, ("MB", "handles", "threads"), strict=True)
        return ", ".join(f"{early:.0f} -> {late:.0f} {what}" for early, late, what in pairs)


def soak_of_runs(folder: Path, trials: int) -> Outcome:
    """One sweep of `trials` small runs, two at a time: the sweep's process, the server that its workers are forked
    from, while jobs run, and what the store and the folders beside it hold.
    """
    seeds = ",".join(map(str, range(trials)))
    sweep = command(folder, "-m", f"seed={seeds}", "trainer.epochs=1", "sweep.n_jobs=2", "tracking.log_model=false")
    process = subprocess.Popen(sweep, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL)
    own, forked, sizes = Samples(process.pid), None, []
    while process.poll() is None:
        time.sleep(1)
        forked = forked or _fork_server(process.pid)
        if forked and _has_children(forked.pid):  # the report at the end is no part of what must be flat
            own.take()
            forked.take()
        database = folder / "mlflow.db"
        sizes.append(database.stat().st_size if database.exists() else 0)
    done = sum(each.info.status == "FINISHED" and "role" not in each.data.tags for each in runs_of(folder))
    half = sizes[len(sizes) // 2]
    left = [path.name for name in ("unsent", "checkpoints") for path in (folder / name).glob("*")]
    flat = own.are_flat and (forked is None or forked.are_flat) and not left
    seen = f"sweep {own}; fork server {forked}; {sizes[-1] / max(done, 1) / 1e3:.0f} kB of database a run "
    seen += f"({half / 1e6:.1f} MB at half time, {sizes[-1] / 1e6:.1f} MB at the end); {len(left)} folders left over"
    return Outcome(trials, done if flat else 0, seen)


def _fork_server(pid: int) -> Samples | None:
    """The child that has the libraries imported, and so the most memory."""
    try:
        children = psutil.Process(pid).children()
        largest = max(children, key=lambda child: child.memory_info().rss, default=None)
        return Samples(largest.pid) if largest and largest.memory_info().rss > 200e6 else None
    except psutil.Error:
        return None


def _has_children(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).children())
    return False


def soak_of_service(_: Path, trials: int) -> Outcome:
    """Images over HTTP from four clients, every tenth one cut short: answered, and what the service holds."""
    sound = images(64, 64)
    files = [file[: len(file) // 2] if number % 10 == 9 else file for number, file in enumerate(sound)]
    with serving("--no-page") as server:
        samples, counts = asyncio.run(_ask(server.url, server.process.pid, files, trials))
    cut_short = sum(number % len(files) % 10 == 9 for number in range(trials))
    right = counts.total() == trials and counts["unreadable"] == cut_short
    seen = f"{samples}; " + ", ".join(f"{count:,} {verdict}" for verdict, count in counts.most_common())
    return Outcome(trials, trials if right and samples.are_flat else 0, seen)


async def _ask(url: str, pid: int, files: list[bytes], trials: int) -> tuple[Samples, Counter[str]]:
    import httpx

    samples, verdicts = Samples(pid), list[str]()
    starts = iter(range(0, trials, AT_ONCE))

    async def client() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as session:
            for first in starts:  # shared by all clients
                batch = range(first, min(first + AT_ONCE, trials))
                form = [("files", (f"{number}.jpg", files[number % len(files)])) for number in batch]
                answer = await session.post("/v1/predict", files=form)
                verdicts.extend(each["verdict"] for each in answer.raise_for_status().json()["answers"])
                if len(verdicts) % (AT_ONCE * 25) < AT_ONCE:
                    samples.take()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return samples, Counter(verdicts)


def soak_of_command(folder: Path, trials: int) -> Outcome:
    """One folder of so many images (links to 1,000 files) through `src.predict`: answered, and what it holds."""
    album = folder / "album"
    for number, file in enumerate(images(1000, 64)):
        (album / f"{number:03d}").mkdir(parents=True)
        (album / f"{number:03d}" / "0.jpg").write_bytes(file)
    for number in range(1000, trials):
        os.link(album / f"{number % 1000:03d}" / "0.jpg", album / f"{number % 1000:03d}" / f"{number // 1000}.jpg")
    answers = folder / "answers.jsonl"
    with answers.open("w") as out:
        arguments = [sys.executable, "-m", "src.predict", album, "--recursive", "--json"]
        process = subprocess.Popen(arguments, cwd=PROJECT_ROOT, stdout=out, stderr=subprocess.DEVNULL)
        samples = Samples(process.pid)
        while process.poll() is None:
            time.sleep(0.5)
            samples.take()
    with answers.open() as lines:
        counts = Counter(line.count('"verdict"') for line in lines)
    return Outcome(trials, counts[1] if samples.are_flat else 0, str(samples))
