"""Probabilities from a Keras model for any number of pictures."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

BATCH_SIZE = 64


def predictor(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A function from uint8 pictures (n, size, size, 3) to P(positive class), float32 (n,).

    Batches go straight to the compiled step: `model.predict` would set up a data pipeline at every call.
    """

    def predict(pictures: np.ndarray) -> np.ndarray:
        starts = range(0, len(pictures), BATCH_SIZE)
        batches = [model.predict_on_batch(pictures[start : start + BATCH_SIZE]) for start in starts]
        return np.concatenate(batches).reshape(-1) if batches else np.zeros(0, "float32")

    return predict
