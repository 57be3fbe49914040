"""A model as a plain function, and its probabilities on the evaluated splits of a data set."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import DataError

if TYPE_CHECKING:
    import keras

    from ..data.prepared import PreparedDataset


BATCH_SIZE = 64


def predictor(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A function from uint8 images (n, size, size, 3) to P(positive class), float32 (n,).

    Batches go straight to the compiled step: `model.predict` would set up a data pipeline at every call.
    """

    def predict(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), BATCH_SIZE)
        batches = [model.predict_on_batch(images[start : start + BATCH_SIZE]) for start in starts]
        return np.concatenate(batches).reshape(-1) if batches else np.zeros(0, "float32")

    return predict


Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating]]

SPLITS = ("validation", "test")
IMAGES_AT_ONCE = 256
LATENCY_CALLS = 15


def predict_splits(predict: Predict, dataset: PreparedDataset) -> pd.DataFrame:
    """The model's own probabilities (`uncalibrated`) on validation and test; the index is the row in the data set.

    Raises DataError where both splits are empty.
    """
    rows = np.concatenate([dataset.rows(split) for split in SPLITS])
    if rows.size == 0:
        raise DataError("nothing to evaluate: the data has neither a validation nor a test split; see dataset.split")
    predictions = dataset.table.iloc[rows][["sha256", "group", "label", "split"]].set_axis(rows)
    return predictions.assign(uncalibrated=predict_rows(predict, dataset, rows))


def latency(predict: Predict, image: NDArray[np.uint8]) -> float:
    """Milliseconds that `predict` takes for one image (size, size, 3): the median of repeated calls after a first."""
    batch, seconds = image[None], []
    predict(batch)
    for _ in range(LATENCY_CALLS):
        started = time.perf_counter()
        predict(batch)
        seconds.append(time.perf_counter() - started)
    return 1000 * float(np.median(seconds))


def predict_rows(predict: Predict, dataset: PreparedDataset, rows: NDArray[np.integer]) -> NDArray[np.float64]:
    """Probabilities of the given rows, read from the memory map a few hundred images at a time."""
    chunks = np.array_split(rows, max(1, -(-len(rows) // IMAGES_AT_ONCE)))
    return np.concatenate(
        [np.asarray(predict(dataset.images[chunk]), dtype=np.float64).reshape(-1) for chunk in chunks]
    )
