"""Speed of a fit against the tutorial's pipeline and a bare loop: `python -m benchmarks speed training`.

Every contender fits in a thread of its own, the tutorial in a process of its own, that waits for its turn after each
epoch, so that epochs of real fits, with all their callbacks, are measured in turn. Measured are the seconds of training
for 1,000 images, without validation.
"""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image
from rich.console import Console

from benchmarks.harness import ROUNDS, Row, faster, in_turn
from src.config import PROJECT_ROOT, Config
from src.data.prepared import PreparedDataset, prepare
from src.synthetic.faces import draw_face
from src.training.backend import POLICIES, resolve_precision, start_backend
from tests.composing import compose_config

COUNT, SIDE, BATCH = 457, 256, 32
MODELS, MODEL_ROUNDS = ("deep", "residual", "mobile"), 3
Report = Callable[[float], None]


class Turns:
    """A fit that goes on by one epoch at each call and returns its seconds; `first` are those of the first epoch.

    `run(report)` fits, and calls `report(seconds)` after each epoch.
    """

    def __init__(self, run: Callable[[Report], None]) -> None:
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.seconds: float = 0.0
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(run,), daemon=True)
        self.thread.start()
        self.first = self._wait()

    def __call__(self) -> float:
        self.go.release()
        return self._wait()

    def _run(self, run: Callable[[Report], None]) -> None:
        try:
            run(self._report)
        except BaseException as error:  # noqa: BLE001 - raised again where the caller waits
            self.failure = error
        self.done.release()

    def _report(self, seconds: float) -> None:
        self.seconds = seconds
        self.done.release()
        self.go.acquire()

    def _wait(self) -> float:
        self.done.acquire()
        if self.failure:
            raise self.failure
        return self.seconds


@dataclass(frozen=True)
class Reporter:
    """Observer of a fit that reports each epoch's metrics and keeps nothing."""

    report: Callable[[Mapping[str, float]], None]
    console: Console = field(default_factory=lambda: Console(file=io.StringIO()))
    state: Path | None = None
    tensorboard: Path | None = None

    def epoch(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Report the metrics of an epoch."""
        self.report(metrics)


def ours(config: Config) -> Turns:
    """The project's own fit."""

    def run(report: Report) -> None:
        from src.models.classifier import create_classifier
        from src.training.fit import fit

        _set_precision(config)
        classifier = create_classifier(config.model, config.dataset.image_size)
        fit(
            classifier,
            _dataset(config),
            config,
            Reporter(lambda metrics: report(1000 / metrics["images_per_second"])),
        )

    return Turns(run)


class Tutorial:
    """The tutorial's pipeline and network as they come, in a process of their own: an epoch a call, as `Turns`."""

    def __init__(self, images: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.tutorial", "turns", str(images)]
        self.process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._seconds()

    def __call__(self) -> float:
        self._pipe(self.process.stdin).write(b"\n")
        self._pipe(self.process.stdin).flush()
        return self._seconds()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _seconds(self) -> float:
        return float(self._pipe(self.process.stdout).readline())

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise RuntimeError("the process was started without pipes")
        return pipe


def bare(config: Config) -> Callable[[], float]:
    """`train_on_batch` on images in memory, with nothing around it: an epoch a call. Its first epoch is over."""
    from src.models.augmentation import Augmentation
    from src.models.classifier import create_classifier
    from src.training.model import TrainingModel, compile_model, stages

    _set_precision(config)
    dataset = _dataset(config)
    rows, images = dataset.rows("train"), np.array(dataset.images)
    model = TrainingModel(create_classifier(config.model, config.dataset.image_size), Augmentation(config.aug))
    compile_model(model, config, len(rows) // BATCH, stages(config)[-1])
    labels = dataset.table["label"].to_numpy("float32").reshape(-1, 1)
    weights = np.ones(len(labels), "float32")

    def epoch() -> float:
        started, order = time.perf_counter(), np.random.default_rng(0).permutation(rows)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            model.train_on_batch({"images": images[batch], "labels": labels[batch]}, labels[batch], weights[batch])
        return 1000 * (time.perf_counter() - started) / len(rows)

    epoch()
    return epoch


def training_rows(folder: Path, rounds: int = ROUNDS) -> list[Row]:
    """All rows about the speed of a fit; `folder` is for data."""
    start_backend()
    images, rows = write_faces(folder / "faces", COUNT, SIDE), []
    fastest = resolve_precision("auto")
    for precision in dict.fromkeys((fastest, "float32")):
        config = _config(folder, f"trainer.precision={precision}")
        fit, tutorial = ours(config), Tutorial(images)
        found = in_turn({"ours": fit, "tutorial": tutorial, "bare loop": bare(config)}, rounds)
        tutorial.end()
        what = f"training, baseline, {SIDE}x{SIDE}, batches of {BATCH}, {precision}"
        bound = 1.2 if precision == "float32" else 2.2
        rows += [faster(what, "tutorial's pipeline", found, ("ours", "tutorial"), bound), _share(what, found)]
        if precision == fastest:
            later = [fit.first / seconds for seconds in found["ours"]]
            took = {"first": fit.first, "later": float(np.median(found["ours"]))}
            rows.append(Row("first epoch", "later epochs", later, "x", 1.2, at_least=False, took=took))
    for model in MODELS:
        config = _config(folder, f"model={model}", "dataset.image_size=128")
        found = in_turn({"ours": ours(config), "bare loop": bare(config)}, min(rounds, MODEL_ROUNDS))
        rows.append(_share(f"training, {model}, 128x128, {fastest}", found))
    return [*rows, _augmentation(folder, rounds)]


def _share(what: str, found: dict[str, list[float]]) -> Row:
    ratios = [100 * free / fit for fit, free in zip(found["ours"], found["bare loop"], strict=True)]
    took = {f"{name}, images/s": 1000 / float(np.median(seconds)) for name, seconds in found.items()}
    return Row(what, "bare loop", ratios, "%", 97, took=took)


def _augmentation(folder: Path, rounds: int) -> Row:
    configs = {name: _config(folder, f"aug={name}") for name in ("strong", "none")}
    found = in_turn({name: ours(config) for name, config in configs.items()}, rounds)
    more = [100 * (strong / none - 1) for strong, none in zip(found["strong"], found["none"], strict=True)]
    took = {f"{name}, images/s": 1000 / float(np.median(seconds)) for name, seconds in found.items()}
    return Row("aug=strong, share of a step added", "aug=none", more, "%", 15, at_least=False, took=took)


def write_faces(folder: Path, count: int, side: int) -> Path:
    """Synthetic faces as JPEG files in one folder for each class."""
    for name in ("happy", "sad"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        pixels, factors = draw_face(0, index, side)
        Image.fromarray(pixels).save(folder / ("happy" if factors.label else "sad") / f"{index:06}.jpg", quality=90)
    return folder


def _config(folder: Path, *overrides: str) -> Config:
    source = ["dataset=photos", f"dataset.path={folder / 'faces'}", f"dataset.cache={folder / 'cache'}"]
    source += ["dataset.near_duplicate_distance=null", "tracking=off", "trainer.early_stopping=0"]
    return compose_config(*source, "trainer.epochs=1000", f"trainer.batch_size={BATCH}", *overrides)


def _dataset(config: Config) -> PreparedDataset:
    return prepare(config.dataset)


def _set_precision(config: Config) -> None:
    import keras

    keras.config.set_dtype_policy(POLICIES[resolve_precision(config.trainer.precision)])  # of this thread alone


SCORE_OURS = (
    *("dataset=fer2013", "dataset.image_size=48", "model=residual", "model.gray=true", "model.filters=[24,48,96,128]"),
    *("model.stem_stride=1", "optimizer=adamw", "optimizer.learning_rate=2e-3", "optimizer.schedule=constant"),
    *("trainer.batch_size=64", "trainer.epochs=20", "trainer.early_stopping=0", "tracking=off"),
)


class ReachedError(Exception):
    """The score is reached: the fit may end."""


def score_rows(archive: Path, folder: Path, epochs: int = 20) -> list[Row]:
    """Seconds until a small gray net reaches the tutorial's final validation accuracy on FER-2013's faces.

    `archive` has `train` and `validation`, each with `happy` and `sad`; the tutorial reads them as files, enlarged to
    256x256. Both clocks start at the data and stop after an epoch's validation.
    """
    from src.models.classifier import create_classifier
    from src.training.backend import reset
    from src.training.fit import fit

    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder / "files")
    command = [sys.executable, "-m", "benchmarks.tutorial", "score", str(folder / "files"), str(epochs)]
    answer = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout.split()
    theirs, score = float(answer[-2]), float(answer[-1])
    start_backend()
    config = compose_config(*SCORE_OURS, f"dataset.path={archive.resolve()}", f"dataset.cache={folder}/cache")
    reset(config.seed, config.trainer.precision)
    started = time.perf_counter()

    def report(metrics: Mapping[str, float]) -> None:
        if metrics["val_accuracy"] >= score:
            raise ReachedError

    classifier, dataset = create_classifier(config.model, config.dataset.image_size), prepare(config.dataset)
    try:
        fit(classifier, dataset, config, Reporter(report))
    except ReachedError:
        found = {"ours": [time.perf_counter() - started], "tutorial": [theirs]}
        return [faster(f"until {score:.3f} on FER-2013", "the tutorial", found, ("ours", "tutorial"), 10)]
    raise SystemExit(f"{score:.3f} was not reached in {config.trainer.epochs} epochs")
