"""Maps of what an answer rests on: Grad-CAM from gradients, and occlusion, which needs none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..metrics.log_odds import log_odds, sigmoid

if TYPE_CHECKING:
    import keras

    from ..models.predictions import Predict


Maps = NDArray[np.float32]
Tensor = Any

GRID = 12
"""Cells across the image, by which the patches of an occlusion map move."""

MIN_SHOWN = 384


def has_map(model: keras.Model) -> bool:
    """Return whether `model` computes a map of the image, as Grad-CAM needs."""
    from ..models.classifier import last_convolution

    return last_convolution(model, min_places=2) is not None


def grad_cam(model: keras.Model, images: NDArray[np.uint8]) -> Maps:
    """Grad-CAM (n, size, size), not negative, for the class that `model` predicts on images (n, size, size, 3).

    The gradient is that of the log-odds, which do not saturate as the probability does; the map is that of the last
    layer whose output has several places. Gradient and activation are multiplied place by place (HiResCAM:
    Draelos and Carin 2020, arXiv 2011.08891): behind a global average that is Grad-CAM itself (Selvaraju et al. 2017,
    arXiv 1610.02391); behind a flattened map, Grad-CAM's averaged gradient would lose the place.

    Raises ValueError for a model without such a layer.
    """
    import keras

    from ..models.classifier import last_convolution, unmirrored

    model = unmirrored(model)
    maps_layer = last_convolution(model, min_places=2)
    if maps_layer is None:
        raise ValueError(f"{model.name} computes no map of the image")
    features = keras.Model(model.inputs[0], maps_layer.output)(images.astype(np.float32), training=False)
    gradients, values = _gradients(_log_odds_from(model, maps_layer), keras.ops.cast(features, "float32"))
    predicted = np.where(values >= 0, 1.0, -1.0)[:, None, None]
    activations = keras.ops.convert_to_numpy(keras.ops.cast(features, "float32"))
    return _resize(np.maximum((gradients * activations).sum(axis=-1) * predicted, 0), images.shape[1])


def _log_odds_from(model: keras.Model, layer: keras.Layer) -> Callable[[Tensor], Tensor]:
    """The function from `layer`'s output to the log-odds (n,) that the model's last, sigmoid layer turns into P."""
    import keras

    last = model.layers[-1]
    body = keras.Model(layer.output, last.input)

    def from_features(features: Tensor) -> Tensor:
        hidden = keras.ops.cast(body(features, training=False), "float32")
        return keras.ops.matmul(hidden, keras.ops.cast(last.kernel, "float32"))[:, 0] + last.bias[0]

    return from_features


def _gradients(function: Callable[[Tensor], Tensor], point: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gradient of sum(function(point)) and the function's values, as arrays, with the backend that runs."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(point)
            values = function(point)
        return np.asarray(tape.gradient(values, point)), np.asarray(values)
    import jax

    values, pull_back = jax.vjp(function, point)
    return np.asarray(pull_back(keras.ops.ones_like(values))[0]), np.asarray(values)


def occlusion(predict: Predict, images: NDArray[np.uint8]) -> Maps:
    """Occlusion maps (n, size, size) of images (n, size, size, 3), not negative: the evidence for the predicted class
    under patches of 2 x 2 cells that stay inside the image (121 passes an image).
    """
    found = [_evidence_by_cell(predict, image, patch=2, overhang=0) for image in images]
    falls = [np.maximum(evidence if value >= 0 else -evidence, 0) for evidence, value in found]
    return _resize(np.stack(falls), images.shape[1])


def answer_evidence(predict: Predict, image: NDArray[np.uint8], threshold: float) -> NDArray[np.float64]:
    """Evidence by cell, float64 (12, 12), for the class that `threshold` gives to a prepared image (size, size, 3).

    Negative evidence speaks for the other class. Patches of 3 x 3 cells that reach over the border cover the cells
    there as often as all others (196 passes).
    """
    evidence, value = _evidence_by_cell(predict, image, patch=3, overhang=2)
    return evidence if sigmoid(value) >= threshold else -evidence


def _evidence_by_cell(
    predict: Predict, image: NDArray[np.uint8], *, patch: int, overhang: int
) -> tuple[NDArray[np.float64], float]:
    """Evidence for class 1, float64 (GRID, GRID), and the log-odds of the image as it is.

    The evidence of a cell is by how much the log-odds fall where a square of `patch` cells, gray as the image's mean,
    is laid over it, as the mean of all squares that cover it (Zeiler and Fergus 2014, arXiv 1311.2901). Squares lie a
    cell apart and reach up to `overhang` cells over the border.
    """
    edges = np.linspace(0, len(image), GRID + 1).round().astype(int)
    starts = range(-overhang, GRID - patch + overhang + 1)
    spans = [slice(max(start, 0), min(start + patch, GRID)) for start in starts]
    squares = [(rows, columns) for rows in spans for columns in spans]
    covered = np.repeat(image[None], len(squares) + 1, axis=0)
    gray = np.rint(image.mean(axis=(0, 1))).astype(np.uint8)
    for changed, (rows, columns) in zip(covered[1:], squares, strict=True):
        changed[edges[rows.start] : edges[rows.stop], edges[columns.start] : edges[columns.stop]] = gray
    values = log_odds(np.asarray(predict(covered)).reshape(-1))
    total, count = np.zeros((GRID, GRID)), np.zeros((GRID, GRID))
    for square, fall in zip(squares, values[0] - values[1:], strict=True):
        total[square] += fall
        count[square] += 1
    return total / count, float(values[0])


def draw_evidence(image: Image.Image, evidence: NDArray[np.float64]) -> Image.Image:
    """An image in gray, in its own shape and at least `MIN_SHOWN` pixels long, with the evidence by cell over it:
    orange speaks for the answer, blue against it.
    """
    scale = max(1.0, MIN_SHOWN / max(image.size))
    shown = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
    gray = image.convert("L").resize(shown, Image.Resampling.BICUBIC).convert("RGB")
    smooth = np.asarray(Image.fromarray(evidence.astype(np.float32)).resize(shown, Image.Resampling.BICUBIC))
    strength = np.clip(smooth / max(float(np.abs(evidence).max()), 1e-9), -1, 1)[..., None]
    color = np.where(strength > 0, np.array([255.0, 122, 0]), np.array([30.0, 110, 255]))
    mixed = gray + (color - gray) * 0.75 * np.abs(strength)
    return Image.fromarray(np.rint(np.clip(mixed, 0, 255)).astype(np.uint8))


def _resize(maps: NDArray[np.floating], size: int) -> Maps:
    images = (Image.fromarray(values.astype(np.float32)) for values in maps)
    return np.stack([np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) for image in images])
