"""A softmax head beside the probability, for training alone: it learns more classes than the two that are asked for.

What tells other classes apart are features that help with the two as well (multi-task learning: Caruana 1997,
doi 10.1023/A:1007379606734). The head is no part of the classifier, so nothing of it is kept, exported or evaluated.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from ..config import Config
from ..data.prepared import PreparedDataset


class AuxiliaryHead(layers.Layer):
    """Logits of `classes` classes from the features of `classifier`, the input of its last layer."""

    def __init__(self, classifier: keras.Model, classes: int, weight: float, label_smoothing: float) -> None:
        super().__init__(name="auxiliary", dtype="float32")
        features = classifier.layers[-1].input
        self.body = keras.Model(classifier.inputs, [features, classifier.output], name="body")
        self.dense = layers.Dense(classes, dtype="float32", name="auxiliary_logits")
        self.dense.build(features.shape)
        self.weight = weight
        self.crossentropy = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
        self.built = True

    def call(self, images: Any) -> tuple[Any, Any]:
        """The classifier's probabilities (batch, 1) and the head's logits (batch, classes), in training."""
        features, probability = self.body(images, training=True)
        return probability, self.dense(features)

    def loss(self, shares: Any, logits: Any) -> Any:
        """The weighted cross-entropy to the `shares` of each class (batch, classes); rows of zeros have none."""
        known = ops.cast(ops.sum(shares, axis=-1) > 0, "float32")
        return self.weight * self.crossentropy(shares, logits, sample_weight=known)


def create_auxiliary_head(classifier: keras.Model, dataset: PreparedDataset, config: Config) -> AuxiliaryHead | None:
    """The head for what `dataset` says of further classes; None where it says nothing or `config` leaves them out."""
    trainer = config.trainer
    if dataset.auxiliary is None or not trainer.auxiliary_weight or trainer.overfit:
        return None
    return AuxiliaryHead(classifier, len(dataset.auxiliary.classes), trainer.auxiliary_weight, trainer.label_smoothing)
