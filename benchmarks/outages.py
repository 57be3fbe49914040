"""Take away what runs write to: a disk that is full, a tree that is read-only, a server that hangs."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from benchmarks.small_runs import EPOCHS, SMALL, ForkedTraining, Outcome, losses, run, runs_of, values
from src.config import PROJECT_ROOT
from tests.tracking.conftest import TrackingServer

CHOICE = random.SystemRandom()


@contextlib.contextmanager
def _disk(place: Path, size: int) -> Iterator[None]:
    """A disk of `size` bytes mounted at `place`. Raises OSError where that is not allowed."""
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True).returncode:
        raise PermissionError
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def full_disks(folder: Path, trials: int) -> Outcome:
    """A disk of a random size for store, cache, state and `output=`, full at some moment of a run; then `resume=auto`
    with room. Needs root; 0 trials without.
    """
    held, ends = 0, list[str]()
    for attempt in itertools.count():
        if len(ends) == trials:
            break
        place, size = folder / str(attempt), int(10 ** CHOICE.uniform(5.2, 6.6))
        try:
            with _disk(place, size):
                arguments = values(place, f"output={place}/out", "tracking.log_model=false", "resume=auto")
                limited = ForkedTraining(arguments)
                if limited.exit_code == 0:  # there was room for all: no trial
                    continue
                subprocess.run(["mount", "-o", "remount,size=200000000", place], check=True)
                resumed = ForkedTraining(arguments)
                resumed.wait()
                found = runs_of(place)
                finished = [each for each in found if each.info.status == "FINISHED"]
                sound = len(finished) == 1 and losses(finished[0].info.run_id) == list(range(1, EPOCHS + 1))
                sound = sound and not any(each.info.status == "RUNNING" for each in found)
        except PermissionError:
            return Outcome(0, 0, "needs root")
        said = [line for line in limited.said.splitlines() if line.startswith("error")]
        sound = sound and "Traceback" not in limited.said + resumed.said and len(said) == 1
        if not sound:
            print(f"{size} bytes\n{limited.said}\n{resumed.said}", file=sys.stderr, flush=True)
        held += sound
        ends.append(f"{size // 1000} kB")
    return Outcome(trials, held, f"one line, then finished, each epoch once (disks of {', '.join(ends)})")


def read_only_tree(folder: Path, trials: int) -> Outcome:
    """The source tree on a read-only mount, store and cache elsewhere. Needs root; 0 trials without."""
    if os.geteuid():
        return Outcome(0, 0, "needs root")
    tree, held = folder / "tree", 0
    tree.mkdir()
    script = f"mount --bind {PROJECT_ROOT} {tree} && mount -o remount,bind,ro {tree} && cd {tree} && "
    for trial in range(trials):
        own = [f"dataset.cache={folder}/cache", f"tracking.uri=sqlite:///{folder}/mlflow.db", f"seed={trial}"]
        trained = [sys.executable, "-m", "src.train", *SMALL, *own, "trainer.epochs=1"]
        predicted = [sys.executable, "-m", "src.predict", "docs/faces.jpg"]
        lines = " && ".join(" ".join(f"'{word}'" for word in line) for line in (trained, predicted))
        done = run(["unshare", "-m", "sh", "-c", script + lines])
        held += done.returncode == 0 and "Traceback" not in done.stderr
    return Outcome(trials, held, "trains and predicts")


def hanging_server(folder: Path, trials: int) -> Outcome:
    """A tracking server that stops answering at a random moment of a run, for 5 to 40 seconds, and goes on."""
    server, held, hangs = TrackingServer(f"sqlite:///{folder}/server.db", folder), 0, []
    server.start()
    try:
        for trial in range(trials):
            training = ForkedTraining(values(folder, "tracking=server", f"tracking.uri={server.uri}", f"seed={trial}"))
            while not training.wait(0.2) and not _is_running(server.uri, trial):
                pass
            time.sleep(CHOICE.uniform(0, 3))
            server.signal(signal.SIGSTOP)
            hangs.append(CHOICE.uniform(5, 40))
            time.sleep(hangs[-1])
            server.signal(signal.SIGCONT)
            training.wait()
            run([sys.executable, "-m", "src.sync"])
            (found,) = (each for each in runs_of(server.uri) if each.data.params.get("seed") == str(trial))
            whole = found.info.status == "FINISHED" and losses(found.info.run_id) == list(range(1, EPOCHS + 1))
            held += whole and "Traceback" not in training.said
    finally:
        server.kill()
    shown = ", ".join(f"{seconds:.0f} s" for seconds in hangs)
    return Outcome(trials, held, f"FINISHED, each epoch once, after it hung for {shown}")


def _is_running(uri: str, seed: int) -> bool:
    with contextlib.suppress(requests.exceptions.RequestException):
        return any(each.data.params.get("seed") == str(seed) for each in runs_of(uri))
    return False
