"""The tutorial's program, as its users write it: `python -m benchmarks.tutorial IMAGES [EPOCHS]` trains.

`IMAGES` has a folder for each class. `python -m benchmarks.tutorial turns IMAGES` prints the seconds of each epoch
for 1,000 photos, and waits for a line before the next. `python -m benchmarks.tutorial score IMAGES EPOCHS` fits on
`IMAGES/train` and prints seconds and accuracy on `IMAGES/validation`. `... MODEL.keras IMAGE` predicts.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from experiments.tutorial_leak.run import BATCH, SIDE, tutorial_network


def batches(photos: Path) -> tuple[tf.data.Dataset, tf.data.Dataset, tf.data.Dataset]:
    """Its training, validation and test batches: read and decoded anew on every pass, shuffled, divided by 255."""
    data = keras.utils.image_dataset_from_directory(photos, image_size=(SIDE, SIDE), batch_size=BATCH, verbose=False)
    data = data.map(lambda images, labels: (images / 255, labels))
    train_size, validation_size = int(len(data) * 0.7), int(len(data) * 0.2)
    train, rest = data.take(train_size), data.skip(train_size)
    return train, rest.take(validation_size), rest.skip(validation_size)


def train(photos: Path, epochs: int = 20) -> None:
    """Fit, test and save: what the tutorial does, with nothing recorded."""
    training, validation, test = batches(photos)
    network = tutorial_network()
    network.fit(training, epochs=epochs, validation_data=validation, verbose=2)
    accuracy = keras.metrics.BinaryAccuracy()
    for images, labels in test.as_numpy_iterator():
        accuracy.update_state(labels[:, None], network.predict(images, verbose=0))
    print(f"test accuracy {float(accuracy.result()):.3f}")
    network.save(photos / "tutorial.keras")


class SecondsInTurn(keras.callbacks.Callback):
    """Prints the seconds of training for 1,000 photos after each epoch, and waits for a line."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        print(1000 * (time.perf_counter() - self.started) / (self.params["steps"] * BATCH), flush=True)
        if not sys.stdin.readline():
            sys.exit()  # who asked is gone


def score(faces: Path, epochs: int) -> None:
    """Fit on a training and a validation folder, and print the seconds and the final validation accuracy."""
    started, read = time.perf_counter(), keras.utils.image_dataset_from_directory
    training, validation = (
        read(faces / split, image_size=(SIDE, SIDE), batch_size=BATCH, verbose=False).map(
            lambda images, labels: (images / 255, labels)
        )
        for split in ("train", "validation")
    )
    fitted = tutorial_network().fit(training, validation_data=validation, epochs=epochs, verbose=0)
    print(time.perf_counter() - started, fitted.history["val_accuracy"][-1])


def predict(model: Path, photo: Path) -> None:
    """Load and predict one photo."""
    network = keras.models.load_model(model)
    image = tf.image.resize(tf.io.decode_image(photo.read_bytes(), channels=3), (SIDE, SIDE))
    print(float(network.predict(image[None] / 255, verbose=0)[0, 0]))


if __name__ == "__main__":
    first, *rest = sys.argv[1:]
    if first.endswith(".keras"):
        predict(Path(first), Path(rest[0]))
    elif first == "score":
        score(Path(rest[0]), int(rest[1]))
    elif first == "turns":
        tutorial_network().fit(batches(Path(rest[0]))[0], epochs=1000, verbose=0, callbacks=[SecondsInTurn()])
    else:
        train(Path(first), int(rest[0]) if rest else 20)
