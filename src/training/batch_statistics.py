"""Batch normalization's statistics, estimated anew before each validation.

Keras keeps moving averages whose momentum of 0.99 needs some 500 updates to forget where they started; on small data an
epoch has five. What is validated and kept would then be another network than the one that was trained. Here the mean
and variance of every batch-normalization layer are estimated over training images with the weights as they are
("precise" batch normalization: Wu and Johnson 2021, arXiv 2105.07576, section 3).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from ..models.inspection import all_layers


class EstimateBatchStatistics(keras.callbacks.Callback):
    """Sets the statistics of `classifier` over `rows` of `images`, uint8 (n, height, width, 3), before each validation.

    Images are taken as they are, without augmentation, and dropout is off: the state that a model is used in. A
    classifier without batch normalization is left alone, and so are layers that are frozen when this is made. Nothing
    is drawn at random, so a resumed fit is the same fit.
    """

    def __init__(self, classifier: keras.Model, images: np.ndarray, rows: np.ndarray, batch_size: int) -> None:
        super().__init__()
        self.layers = [
            layer
            for layer in all_layers(classifier)
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        self.images = images
        # Batches of one size: one compiled step, and each batch weighs the same.
        count = max(len(rows) // batch_size, 1)
        self.batches = [np.sort(rows[start::count][:batch_size]) for start in range(count)]
        self.dropouts = [layer for layer in all_layers(classifier) if hasattr(layer, "rate")]
        self.forward = _InTrainingMode(classifier)
        self.validated = False

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self.validated = True
        self.estimate()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if not self.validated:
            self.estimate()

    def estimate(self) -> None:
        """Set mean and variance of each layer to those of all batches together (law of total variance)."""
        if not self.layers:
            return
        means, variances = [], []
        with self._batch_by_batch():
            for rows in self.batches:
                self.forward.predict_on_batch(self.images[rows])
                means.append([_array(layer.moving_mean) for layer in self.layers])
                variances.append([_array(layer.moving_variance) for layer in self.layers])
        for layer, mean, variance in zip(
            self.layers, zip(*means, strict=True), zip(*variances, strict=True), strict=True
        ):
            layer.moving_mean.assign(np.mean(mean, axis=0))
            layer.moving_variance.assign(np.mean(variance, axis=0) + np.var(mean, axis=0))

    @contextlib.contextmanager
    def _batch_by_batch(self) -> Iterator[None]:
        """Momentum 0 leaves the last batch's own statistics in a layer; the step is compiled in here."""
        momenta, rates = [layer.momentum for layer in self.layers], [layer.rate for layer in self.dropouts]
        for layer in self.layers:
            layer.momentum = 0.0
        for dropout in self.dropouts:
            dropout.rate = 0.0
        try:
            yield
        finally:
            for layer, momentum in zip(self.layers, momenta, strict=True):
                layer.momentum = momentum
            for dropout, rate in zip(self.dropouts, rates, strict=True):
                dropout.rate = rate


class _InTrainingMode(keras.Model):
    """The classifier as `fit` runs it: batch normalization by the batch at hand."""

    def __init__(self, classifier: keras.Model) -> None:
        super().__init__(name="statistics")
        self.classifier = classifier
        self.built = True

    def call(self, images: Any) -> Any:
        return self.classifier(images, training=True)


def _array(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), "float64")
