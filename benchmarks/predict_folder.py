"""Images a second of `python -m src.predict FOLDER` against its parts alone, in one run, in turn.

`python -m benchmarks.predict_folder [images] [side] [rounds]`. Preparing (decoding, looking for faces) runs on all
cores, the models on one, as in the command. One after the other they would reach 1 / (1 / preparing + 1 / models); a
share above 100 % means that they overlap. Shares are taken within a round; where the load changes from one part to the
next they scatter.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.harness import in_turn
from src.config import PROJECT_ROOT
from src.conversion.opening import open_model
from src.runtime.photos import open_predictor
from src.runtime.predictor import BATCH_SIZE, list_images
from src.synthetic.faces import draw_face

DIFFERENT = 20


def write_images(folder: Path, count: int, side: int) -> None:
    """Synthetic faces as JPEG files, a few different ones again and again: drawing them takes longest."""
    for index in range(DIFFERENT):
        face = Image.fromarray(draw_face(0, index, side)[0])
        for place in range(index, count, DIFFERENT):
            face.save(folder / f"{place:06}.jpg", quality=90)


def command(path: Path) -> None:
    """The command on a file or folder, its answers thrown away."""
    arguments = [sys.executable, "-m", "src.predict", str(path)]
    subprocess.run(arguments, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, check=True)


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of all of them in turn, `rounds` times, for the images in `folder`."""
    classifier, images = open_predictor(open_model()), list_images([str(folder)], recursive=False)
    prepared: list[Any] = []

    def prepare() -> None:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            prepared[:] = pool.map(classifier.prepare, images)

    def run_models() -> None:
        for start in range(0, len(prepared), BATCH_SIZE):
            classifier.evaluate(prepared[start : start + BATCH_SIZE])

    works: dict[str, Callable[[], object]] = {
        "preparing alone": prepare,
        "models alone": run_models,
        "both, in this process": lambda: list(classifier.answers(images)),
        "command, folder": lambda: command(folder),
        "command, one image": lambda: command(Path(images[0].path)),
    }
    return in_turn(works, rounds)


def report(took: dict[str, NDArray[np.float64]], count: int) -> None:
    """Print median rates, and the share of what decoding and model together allow: median, lowest and highest."""
    prepare, run_models, both, folder, one = took.values()
    rates = {"preparing": prepare, "models": run_models, "one after the other": prepare + run_models}
    rates["command"] = folder
    for name, each in rates.items():
        print(f"{name:20} {count / np.median(each):6,.0f} images/s")
    shares = {"in this process": both, "command": folder, "command without its start": folder - one}
    for name, each in shares.items():
        share = (prepare + run_models) / each
        print(f"{name:26} {np.median(share):.0%} ({share.min():.0%} to {share.max():.0%})")
    print(f"load averages {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    wanted = [int(argument) for argument in sys.argv[1:]] + [3000, 512, 5][len(sys.argv) - 1 :]
    with tempfile.TemporaryDirectory() as temporary:
        write_images(Path(temporary), wanted[0], wanted[1])
        took = measure(Path(temporary), wanted[2])
        report({name: np.array(seconds) for name, seconds in took.items()}, wanted[0])
