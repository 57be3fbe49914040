"""What one forward pass of a model costs."""

from __future__ import annotations

import math

import keras
from keras import layers


def count_flops(model: keras.Model) -> int:
    """Floating-point operations of one picture's forward pass: two for each multiply-add of the convolutions and
    dense layers. Activations, normalisation and pooling are left out; they are a few per cent.

    Raises TypeError for a layer with a kernel that this does not know, rather than counting it as free.
    """
    return sum(2 * _multiply_adds(layer) for layer in model.layers)


def _multiply_adds(layer: layers.Layer) -> int:
    if isinstance(layer, layers.Conv2D | layers.Dense):
        positions = math.prod(layer.output.shape[1:-1])
        return positions * math.prod(layer.kernel.shape)
    if isinstance(layer, layers.SeparableConv2D):
        positions = math.prod(layer.output.shape[1:-1])
        return positions * (math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape))
    if hasattr(layer, "kernel"):
        raise TypeError(f"the cost of a {type(layer).__name__} layer is not known")
    return 0
