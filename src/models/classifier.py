"""Classifiers of any architecture: pixels in, the probability of the positive class out; their cost."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
from keras import layers

from ..config import ModelConfig
from ..errors import ConfigError
from . import backbones, cnn, efficientnet_lite  # noqa: F401  (each registers its architectures)
from .cnn import find_architecture

if TYPE_CHECKING:
    import keras


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
    if config.standardize:
        plain: dict[str, Any] = {"center": False, "scale": False, "epsilon": 1e-5, "dtype": "float32"}
        x = layers.GroupNormalization(groups=1, name="standardized", **plain)(x)
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


def all_layers(model: keras.Model) -> Iterator[layers.Layer]:
    """Every layer of the model and of the models nested in it, in order; a nested model itself is not one of them."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)
        else:
            yield layer


@dataclass(frozen=True)
class ModelCost:
    """The size of a model, and the floating-point operations of one image's forward pass; None where not known."""

    parameters: int
    flops: int | None

    def __str__(self) -> str:
        operations = "FLOPs not known" if self.flops is None else f"{self.flops / 1e6:,.1f} MFLOPs per image"
        return f"{self.parameters:,} parameters, {operations}"


def model_cost(model: keras.Model, *, flip: bool = False) -> ModelCost:
    """Return the cost of a built model; with `flip`, of one that also answers for the mirror image."""
    flops = count_flops(model)
    return ModelCost(model.count_params(), 2 * flops if flip and flops is not None else flops)


def count_flops(model: keras.Model) -> int | None:
    """Floating-point operations of one image's forward pass: two for each multiply-add of convolutions and dense
    layers. Activations, normalization and pooling are left out; they are a few per cent.

    A model that answers twice, for the mirror image too, counts twice. None where the model has a layer with weights
    whose cost is not known here.
    """
    if unmirrored(model) is not model:
        once = count_flops(unmirrored(model))
        return None if once is None else 2 * once
    costs = [_multiply_adds(layer) for layer in all_layers(model)]
    return None if None in costs else sum(2 * cost for cost in costs if cost is not None)


_ELEMENTWISE = (
    layers.BatchNormalization,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.Normalization,
    layers.PReLU,
)


def _multiply_adds(layer: layers.Layer) -> int | None:
    if isinstance(layer, layers.SeparableConv2D):
        return _positions(layer) * (math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape))
    if isinstance(layer, layers.DepthwiseConv2D | layers.Conv2D | layers.Dense):
        return _positions(layer) * math.prod(layer.kernel.shape)
    return None if layer.weights and not isinstance(layer, _ELEMENTWISE) else 0


def _positions(layer: layers.Layer) -> int:
    """The number of places in the image at which the layer's kernel is applied."""
    return math.prod(layer.output.shape[1:-1])
