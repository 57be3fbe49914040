"""How soon a model here reaches the tutorial's own final score on faces: `python -m benchmarks.time_to_score FER.zip`.

`FER.zip` has FER-2013's faces in `train` and `validation`, each with `happy` and `sad`. The tutorial's program reads
them as files, enlarged to its 256x256; a small gray residual net here reads them as they are, 48x48. Both are validated
on the images of `validation`, and the clock runs from the data to the end of the epoch: decoding and looking for
near-duplicates count, importing TensorFlow does not. A further argument sets the tutorial's epochs, 20.
"""

from __future__ import annotations

import io
import multiprocessing
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rich.console import Console

from src.training.backend import reset, start_backend
from tests.composing import compose_config

Points = list[tuple[float, float]]
"""Seconds since the start, validation accuracy; one for each epoch."""

OURS = (
    *("dataset=fer2013", "dataset.image_size=48", "model=residual", "model.gray=true", "model.filters=[24,48,96,128]"),
    *("model.stem_stride=1", "optimizer=adamw", "optimizer.learning_rate=2e-3", "optimizer.schedule=constant"),
    *("trainer.batch_size=64", "trainer.epochs=20", "trainer.early_stopping=0", "tracking=off"),
)


class ReachedError(Exception):
    """The score is reached: the fit may end."""


def tutorial(archive: Path, folder: Path, epochs: int) -> Points:
    """The tutorial's epochs on the unpacked faces."""
    import keras

    from experiments.tutorial_leak.run import BATCH, SIDE, tutorial_network

    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    keras.config.set_dtype_policy("float32")
    points: Points = []
    started = time.perf_counter()

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            points.append((time.perf_counter() - started, (logs or {})["val_accuracy"]))
            print(f"tutorial, epoch {epoch + 1}: {points[-1][1]:.3f} after {points[-1][0]:.0f} s", flush=True)

    def batches(split: str) -> object:
        read = keras.utils.image_dataset_from_directory
        data = read(folder / split, image_size=(SIDE, SIDE), batch_size=BATCH, verbose=False)
        return data.map(lambda images, labels: (images / 255, labels))

    network = tutorial_network()
    network.fit(batches("train"), validation_data=batches("validation"), epochs=epochs, verbose=0, callbacks=[Note()])
    return points


def ours(archive: Path, folder: Path, score: float) -> Points:
    """Our epochs until `score` is reached."""
    from src.data.prepared import prepare
    from src.models.classifier import create_classifier
    from src.training.fit import fit

    config = compose_config(*OURS, f"dataset.path={archive}", f"dataset.cache={folder}")
    reset(config.seed, config.trainer.precision)
    points: Points = []
    started = time.perf_counter()

    def report(metrics: dict[str, float], epoch: int) -> None:
        points.append((time.perf_counter() - started, metrics["val_accuracy"]))
        print(f"ours, epoch {epoch + 1}: {points[-1][1]:.3f} after {points[-1][0]:.0f} s", flush=True)
        if points[-1][1] >= score:
            raise ReachedError

    classifier, dataset = create_classifier(config.model, config.dataset.image_size), prepare(config.dataset)
    try:
        fit(classifier, dataset, config, report=report, console=Console(file=io.StringIO()))
    except ReachedError:
        return points
    raise SystemExit(f"{score:.3f} was not reached in {config.trainer.epochs} epochs")


def main(archive: Path, epochs: int = 20) -> None:
    """Measure one after the other, the tutorial in a process of its own, and print the ratio."""
    alone = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with tempfile.TemporaryDirectory() as folder:
        with alone as pool:
            theirs = pool.submit(tutorial, archive, Path(folder) / "files", epochs).result()
        seconds, score = theirs[-1]
        start_backend()
        found = ours(archive, Path(folder) / "cache", score)
    print(f"{score:.3f}: {seconds:.0f} s by the tutorial, {found[-1][0]:.0f} s here: {seconds / found[-1][0]:.1f} x")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *(int(argument) for argument in sys.argv[2:]))
