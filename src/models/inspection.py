"""What a model consists of and costs, nested models included."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import keras
from keras import layers

from .classifier import unmirrored


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


def model_cost(model: keras.Model) -> ModelCost:
    """What a built model costs."""
    return ModelCost(model.count_params(), count_flops(model))


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
