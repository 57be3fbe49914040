"""A classifier of any architecture: pixels in, the probability of the positive class out."""

from __future__ import annotations

import re

import keras
from keras import layers

from ..config import ModelConfig
from ..errors import ConfigError
from . import cnn  # noqa: F401  (registers its architecture)
from .registry import find_architecture


def create_classifier(config: ModelConfig, image_size: int) -> keras.Model:
    """Build the classifier that `config` names.

    The model maps float32 pixels in 0..255 of shape (batch, image_size, image_size, 3) to P(positive class) of shape
    (batch, 1), float32. Weights are drawn from Keras's global seed; compute runs under the global dtype policy.
    Raises ConfigError for an architecture that is not registered or cannot take pictures of this size.
    """
    inputs = keras.Input((image_size, image_size, 3), name="image")
    x = layers.Rescaling(1 / 255, name="rescaling")(inputs)
    if config.grey:
        x = keras.ops.image.rgb_to_grayscale(x)
    try:
        x = find_architecture(config.architecture)(x, config)
    except ValueError as error:  # what Keras raises for a layer that does not fit, with colors for a terminal
        reason = re.sub(r"\x1b\[\d*m", "", str(error).splitlines()[0])
        raise ConfigError(f"model={config.name} cannot take dataset.image_size={image_size}: {reason}") from error
    outputs = layers.Dense(1, activation="sigmoid", dtype="float32", name="probability")(x)
    return keras.Model(inputs, outputs, name=config.name)


def last_convolution(model: keras.Model) -> layers.Layer | None:
    """The layer whose output is the last map with a place in the picture: what Grad-CAM looks at.

    None for a model that computes no such map of its pixels.
    """
    layer = next(layer for layer in reversed(model.layers) if len(layer.output.shape) == 4)
    return None if isinstance(layer, layers.InputLayer | layers.Rescaling) else layer
