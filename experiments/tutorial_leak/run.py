"""The tutorial's protocol and an honest one, with the same network: `python -m experiments.tutorial_leak.run PHOTOS`.

Leaky: `image_dataset_from_directory` shuffles anew on every pass, so `take` and `skip` deal other images to training
and test each time, and the network has been trained on its test images when it is tested. Honest: images that look
alike stay together, and every image is evaluated once, by a network that never saw it (five folds).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from src.config import DatasetConfig, SplitConfig
from src.data.prepared import PreparedDataset, prepare

FOLDS, BATCH, SIDE = 5, 32, 256


def tutorial_network() -> keras.Model:
    """The tutorial's network, layer by layer."""
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Conv2D(16, (3, 3), 1, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, (3, 3), 1, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, (3, 3), 1, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    network.compile("adam", loss="binary_crossentropy", metrics=["accuracy"])
    return network


def leaky(photos: Path, seed: int, epochs: int) -> tuple[int, int]:
    """Right answers and test images as the tutorial counts them: parts of data that is shuffled on every pass."""
    keras.utils.set_random_seed(seed)
    data = keras.utils.image_dataset_from_directory(photos, image_size=(SIDE, SIDE), batch_size=BATCH, verbose=False)
    data = data.map(lambda images, labels: (images / 255, labels))
    train_size, validation_size = int(len(data) * 0.7), int(len(data) * 0.2)
    train = data.take(train_size)
    validation = data.skip(train_size).take(validation_size)
    test = data.skip(train_size + validation_size)
    network = tutorial_network()
    network.fit(train, epochs=epochs, validation_data=validation, verbose=0)
    hits = count = 0
    for images, labels in test.as_numpy_iterator():
        predicted = network.predict_on_batch(images)[:, 0] > 0.5
        hits, count = hits + int((predicted == labels).sum()), count + len(labels)
    return hits, count


def honest(photos: Path, seed: int, epochs: int, cache: str) -> tuple[int, int]:
    """Right answers and images of all folds together: each is evaluated by a network that saw none like it."""
    hits = count = 0
    for dataset in _folds(photos, cache):
        keras.utils.set_random_seed(seed)
        train = np.concatenate([dataset.rows("train"), dataset.rows("validation")])
        train = np.random.default_rng(seed).permutation(train)
        labels = dataset.table["label"].to_numpy()
        batches = tf.data.Dataset.from_tensor_slices((dataset.images[train], labels[train]))
        batches = batches.shuffle(len(train)).batch(BATCH).map(lambda images, predicted: (images / 255, predicted))
        network = tutorial_network()
        network.fit(batches, epochs=epochs, verbose=0)
        test = dataset.rows("test")
        predicted = network.predict(dataset.images[test] / np.float32(255), verbose=0)[:, 0] > 0.5
        hits, count = hits + int((predicted == labels[test]).sum()), count + len(test)
    return hits, count


def _folds(photos: Path, cache: str) -> Iterator[PreparedDataset]:
    for fold in range(FOLDS):
        split = SplitConfig(method="kfold", folds=FOLDS, fold=fold)
        yield prepare(DatasetConfig("photos", "folder", path=str(photos), cache=cache, split=split))


def _row(name: str, seed: int, hits: int, count: int, started: float) -> tuple[str, ...]:
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    accuracy = f"{hits / count:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    return name, str(seed), f"{hits} of {count}", accuracy, f"{time.perf_counter() - started:.0f}"


def main() -> None:
    """Run both protocols and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder with happy and sad in it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    photos = arguments.photos.resolve()
    table = Table("protocol", "seed", "right", "accuracy [95 %]", "seconds")
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(arguments.seeds):
            started = time.perf_counter()
            table.add_row(*_row("tutorial", seed, *leaky(photos, seed, arguments.epochs), started))
        for seed in range(arguments.seeds):
            started = time.perf_counter()
            table.add_row(*_row("honest", seed, *honest(photos, seed, arguments.epochs, cache), started))
    Console().print(table)


if __name__ == "__main__":
    main()
