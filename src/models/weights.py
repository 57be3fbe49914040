"""A model's weights: identified by a digest, and moved into a model that computes in full precision."""

from __future__ import annotations

import hashlib

import keras
import numpy as np

from src.config import Config
from src.models.cnn import create_classifier
from src.models.precision import float32


def full_precision(classifier: keras.Model, config: Config) -> keras.Model:
    """The same weights in a float32 model: what is judged, kept and exported is one model, whatever it trained in."""
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
