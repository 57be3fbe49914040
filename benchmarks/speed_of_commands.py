"""Speed of whole commands, from the prompt to the shell's return: `python -m benchmarks speed commands`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.harness import ROUNDS, Row, faster, in_turn
from benchmarks.speed_of_training import write_faces
from src.config import PROJECT_ROOT

NO_DUPLICATES = "dataset.near_duplicate_distance=null"
PHOTOS, JOBS = 233, 12
FITTED = re.compile(r"^fitted in ([\d.]+) s", re.MULTILINE)
JOB = re.compile(r": finished in ([\d.]+) s")


def run(module: str, *arguments: str, status: int = 0) -> str:
    """What one of the project's commands prints. Raises RuntimeError where it ends with another status."""
    command = [sys.executable, "-m", module, *arguments]
    answer = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, env=_environment())
    if answer.returncode != status:
        raise RuntimeError(f"{' '.join(command)} ended with {answer.returncode}: {answer.stderr[-2000:]}")
    return answer.stdout


def command_rows(folder: Path, rounds: int = ROUNDS) -> list[Row]:
    """All rows about whole commands; `folder` is for data and stores."""
    store, cache = f"tracking.uri=sqlite:///{folder}/store/mlflow.db", f"dataset.cache={folder}/cache"
    return [
        *_without_work(rounds),
        *_not_fit(folder, rounds, store, cache),
        _whole_run(folder, max(1, rounds // 2), store, cache),
        *_sweep(store, cache),
        *_prediction(folder, rounds),
    ]


def _without_work(rounds: int) -> list[Row]:
    works = {"--help": lambda: run("src.train", "--help"), "error": lambda: run("src.train", "model=deeep", status=2)}
    found = in_turn({name: _timed(work) for name, work in works.items()}, rounds)
    return [
        Row("`python -m src.train --help`", "", found["--help"], "s", 0.8, at_least=False),
        Row("a config error", "", found["error"], "s", 1.0, at_least=False),
    ]


def _not_fit(folder: Path, rounds: int, store: str, cache: str) -> list[Row]:
    """Runs that differ in their seed alone; the first, which makes data and store, is not counted."""
    arguments = ("dataset.synthetic.count=800", "dataset.image_size=64", "trainer.epochs=3", store, cache)

    def rest(seed: int) -> float:
        started = time.perf_counter()
        said = run("src.train", f"seed={seed}", *arguments)
        return time.perf_counter() - started - float(FITTED.findall(said)[0])

    first, *later = [rest(seed) for seed in range(rounds + 1)]
    seeds = ",".join(str(100 + seed) for seed in range(rounds))
    said = run("src.train", "-m", f"seed={seeds}", f"hydra.sweep.dir={folder}/sweep", *arguments)
    jobs = sum(float(seconds) for seconds in JOB.findall(said))
    fits = sum(float(FITTED.findall(log.read_text())[0]) for log in (folder / "sweep").rglob("*.log"))
    images = "800 images of 64x64, data prepared before"
    return [
        Row(f"a run but its fit, {images}", "", later, "s", 8, at_least=False, took={"the first run, s": first}),
        Row(f"a job of a sweep but its fit, {images}", "", [(jobs - fits) / rounds], "s", 2, at_least=False),
    ]


def _whole_run(folder: Path, rounds: int, store: str, cache: str) -> Row:
    images = write_faces(folder / "photos", PHOTOS, 300)
    source = ("dataset=photos", f"dataset.path={images}", NO_DUPLICATES, cache, store, "trainer.early_stopping=0")
    works = {
        "ours": _timed(lambda: run("src.train", *source)),
        "tutorial": _timed(lambda: run("benchmarks.tutorial", str(images), "20")),
    }
    what = f"whole run of 20 epochs on {PHOTOS} images, from the prompt"
    return faster(what, "the tutorial as a script", in_turn(works, rounds), ("ours", "tutorial"), 1.5)


def _sweep(store: str, cache: str) -> list[Row]:
    """A sweep of tiny jobs; by hand, one job is run and counted as often."""
    tiny = ("dataset.synthetic.count=48", "dataset.image_size=32", "trainer.epochs=2", store, cache)
    run("src.train", *tiny)
    seeds = ",".join(str(seed) for seed in range(1, JOBS + 1))
    started = time.perf_counter()
    run("src.train", "-m", f"seed={seeds}", "sweep.n_jobs=2", *tiny)
    sweep = time.perf_counter() - started
    by_hand = JOBS * float(np.median([_timed(lambda: run("src.train", *tiny))() for _ in range(3)]))
    took = {"sweep, s": sweep, "by hand, s": by_hand}
    row = Row(f"sweep of {JOBS} tiny jobs, n_jobs=2", "by hand, one after the other", [by_hand / sweep], "x", 2.5)
    return [Row(row.what, row.yardstick, row.found, row.unit, row.bound, took=took)]


def _prediction(folder: Path, rounds: int) -> list[Row]:
    import keras

    from benchmarks.tutorial import tutorial_network

    images = write_faces(folder / "one", 2, 512)
    image, model = next(images.rglob("*.jpg")), folder / "tutorial.keras"
    keras.config.set_dtype_policy("float32")
    tutorial_network().save(model)
    works = {
        "ours": _timed(lambda: run("src.predict", str(image))),
        "tutorial": _timed(lambda: run("benchmarks.tutorial", str(model), str(image))),
    }
    found = in_turn(works, rounds)
    what = "`python -m src.predict`, one image, cold, faces and scene"
    return [
        faster(what, "the tutorial's load-and-predict script", found, ("ours", "tutorial"), 8),
        Row(what, "", found["ours"], "s", 0.8, at_least=False),
    ]


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def seconds() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return seconds


def _environment() -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
