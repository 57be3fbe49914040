"""A classifier of any architecture: pixels in, the probability of the positive class out."""

from __future__ import annotations

import re

import keras
from keras import layers

from ..config import ModelConfig
from ..errors import ConfigError
from . import backbones, cnn, efficientnet_lite  # noqa: F401  (each registers its architectures)
from .registry import find_architecture


def create_classifier(config: ModelConfig, image_size: int) -> keras.Model:
    """Build the classifier that `config` names.

    The model maps float32 pixels in 0..255 of shape (batch, image_size, image_size, 3) to P(positive class) of shape
    (batch, 1), float32. Weights are drawn from Keras's global seed; compute runs under the global dtype policy.
    Raises ConfigError for an architecture that is not registered or cannot take images of this size.
    """
    inputs = keras.Input((image_size, image_size, 3), name="image")
    x = layers.Rescaling(1 / 255, name="rescaling")(inputs)
    if config.gray:
        x = keras.ops.image.rgb_to_grayscale(x)
    if config.enlarge > 1:
        x = layers.UpSampling2D(config.enlarge, interpolation="bilinear", name="enlarged")(x)
    try:
        x = find_architecture(config.architecture)(x, config)
    except ValueError as error:  # what Keras raises for a layer that does not fit, with colors for a terminal
        reason = re.sub(r"\x1b\[\d*m", "", str(error).splitlines()[0])
        raise ConfigError(f"model={config.name} cannot take dataset.image_size={image_size}: {reason}") from error
    outputs = layers.Dense(1, activation="sigmoid", dtype="float32", name="probability")(x)
    return keras.Model(inputs, outputs, name=config.name)


def last_convolution(model: keras.Model, *, min_places: int = 1) -> layers.Layer | None:
    """The layer whose output is the last map of the image, of at least `min_places`: Grad-CAM needs two of them.

    None for a model that computes no such map of its pixels.
    """
    shapes = ((layer, layer.output.shape) for layer in reversed(unmirrored(model).layers))
    layer = next(layer for layer, shape in shapes if len(shape) == 4 and shape[1] * shape[2] >= min_places)
    return None if isinstance(layer, layers.InputLayer | layers.Rescaling) else layer


def head_layers(model: keras.Model) -> list[layers.Layer]:
    """The layers behind the last map, which turn features into the probability; all of them where there is no map."""
    last = last_convolution(model)
    return list(model.layers[model.layers.index(last) + 1 :]) if last is not None else list(model.layers)


def backbone(model: keras.Model) -> keras.Model:
    """The network of `keras.applications` inside a classifier. Raises ValueError where there is none."""
    found = next((layer for layer in model.layers if isinstance(layer, keras.Model)), None)
    if found is None:
        raise ValueError("the architecture has no backbone")
    return found


def mirrored(model: keras.Model) -> keras.Model:
    """A model with the weights of `model` that answers with the mean over an image and its mirror image.

    Both are one batch, so that an exported file holds the network once.
    """
    inputs = keras.Input(model.input_shape[1:], name="image")
    both = keras.ops.concatenate([inputs, keras.ops.flip(inputs, axis=2)])
    answers = layers.Average(dtype="float32", name="probability")(keras.ops.split(model(both), 2))
    return keras.Model(inputs, answers, name=model.name)


def unmirrored(model: keras.Model) -> keras.Model:
    """The model inside one that `mirrored` made; any other as it is."""
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return inner[0] if inner and isinstance(model.layers[-1], layers.Average) else model
