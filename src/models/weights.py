"""A model's weights: identified by a digest, and moved into a model that computes in full precision."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import keras
import numpy as np

from ..config import Config
from .classifier import create_classifier


@contextlib.contextmanager
def float32() -> Iterator[None]:
    """Layers made inside this context compute in float32; the global dtype policy is given back afterwards."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def full_precision(classifier: keras.Model, config: Config) -> keras.Model:
    """The same weights in a float32 model: one model is evaluated, kept and exported, whatever it trained in."""
    with float32():
        final = create_classifier(config.model, config.dataset.image_size)
    final.set_weights(classifier.get_weights())
    return final


def weights_digest(model: keras.Model) -> str:
    """SHA-256 of all weights in order, with their shapes: equal only for bit-identical models."""
    digest = hashlib.sha256()
    for weights in model.get_weights():
        digest.update(str(weights.shape).encode())
        digest.update(np.ascontiguousarray(weights).tobytes())
    return digest.hexdigest()
