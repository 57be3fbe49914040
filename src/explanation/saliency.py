"""Maps of what a model looks at: Grad-CAM from gradients, and occlusion, which needs none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..evaluation.predictions import Predict
from ..metrics.calibration import logits

if TYPE_CHECKING:
    import keras

Maps = NDArray[np.float32]
Tensor = Any

OCCLUSION_GRID = 12
OCCLUDER_CELLS = 2  # an occluder is 2 x 2 cells of the grid and moves by one


def grad_cam(model: keras.Model, pictures: NDArray[np.uint8]) -> Maps:
    """Grad-CAM (n, size, size), not negative, for the class that `model` calls on pictures (n, size, size, 3).

    The gradient is that of the log-odds, which do not saturate as the probability does; the map is that of the last
    layer whose output has a place in the picture. Gradient and activation are multiplied place by place (HiResCAM:
    Draelos and Carin 2020, arXiv 2011.08891): behind a global average that is Grad-CAM itself (Selvaraju et al. 2017,
    arXiv 1610.02391); behind a flattened map, Grad-CAM's averaged gradient would lose the place.
    """
    import keras

    from ..models.classifier import last_convolution

    maps_layer = last_convolution(model)
    features = keras.Model(model.inputs[0], maps_layer.output)(pictures.astype(np.float32), training=False)
    gradients, log_odds = _gradients(_log_odds_from(model, maps_layer), keras.ops.cast(features, "float32"))
    predicted = np.where(log_odds >= 0, 1.0, -1.0)[:, None, None]
    activations = keras.ops.convert_to_numpy(keras.ops.cast(features, "float32"))
    return _resize(np.maximum((gradients * activations).sum(axis=-1) * predicted, 0), pictures.shape[1])


def _log_odds_from(model: keras.Model, layer: keras.Layer) -> Callable[[Tensor], Tensor]:
    """The function from `layer`'s output to the log-odds (n,) that the model's last, sigmoid layer turns into P."""
    import keras

    last = model.layers[-1]
    body = keras.Model(layer.output, last.input)

    def log_odds(features: Tensor) -> Tensor:
        hidden = keras.ops.cast(body(features, training=False), "float32")
        return keras.ops.matmul(hidden, keras.ops.cast(last.kernel, "float32"))[:, 0] + last.bias[0]

    return log_odds


def _gradients(function: Callable[[Tensor], Tensor], point: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gradient of sum(function(point)) and the function's values, as arrays, with the backend that runs."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(point)
            values = function(point)
        return np.asarray(tape.gradient(values, point)), np.asarray(values)
    if backend == "jax":
        import jax

        values, pull_back = jax.vjp(function, point)
        return np.asarray(pull_back(keras.ops.ones_like(values))[0]), np.asarray(values)
    import torch

    point = point.detach().requires_grad_()
    values = function(point)
    (gradient,) = torch.autograd.grad(values.sum(), point)
    return gradient.cpu().numpy(), values.detach().cpu().numpy()


def occlusion(predict: Predict, pictures: NDArray[np.uint8]) -> Maps:
    """Occlusion maps (n, size, size), not negative: how much the log-odds of the predicted class fall where a grey
    patch covers the place, averaged over the patches that cover it (Zeiler and Fergus 2014, arXiv 1311.2901).
    """
    return np.stack([_occlusion_map(predict, picture) for picture in pictures])


def _occlusion_map(predict: Predict, picture: NDArray[np.uint8]) -> Maps:
    size = picture.shape[0]
    edges = np.linspace(0, size, OCCLUSION_GRID + 1).round().astype(int)
    starts = [(row, column) for row in range(OCCLUSION_GRID - 1) for column in range(OCCLUSION_GRID - 1)]
    covered = np.repeat(picture[None], len(starts) + 1, axis=0)
    filling = picture.mean(axis=(0, 1)).astype(np.uint8)
    for position, (row, column) in enumerate(starts, start=1):
        bottom, right = edges[row + OCCLUDER_CELLS], edges[column + OCCLUDER_CELLS]
        covered[position, edges[row] : bottom, edges[column] : right] = filling
    log_odds = logits(np.asarray(predict(covered)).reshape(-1))
    fall = (log_odds[0] - log_odds[1:]) * (1 if log_odds[0] >= 0 else -1)
    total, times = np.zeros((OCCLUSION_GRID,) * 2), np.zeros((OCCLUSION_GRID,) * 2)
    for (row, column), value in zip(starts, fall, strict=True):
        cells = np.s_[row : row + OCCLUDER_CELLS, column : column + OCCLUDER_CELLS]
        total[cells] += value
        times[cells] += 1
    return _resize(np.maximum(total / times, 0)[None], size)[0]


def _resize(maps: NDArray[np.floating], size: int) -> Maps:
    images = (Image.fromarray(values.astype(np.float32)) for values in maps)
    return np.stack([np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) for image in images])
