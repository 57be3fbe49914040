"""Brightness, contrast and color of a prepared image: what a model may learn instead of the expression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GRAY_SATURATION = 8.0


@dataclass(frozen=True)
class Statistics:
    """Of one image, shrunk to about 128 pixels a side, in gray levels: means, and for contrast and sharpness the
    standard deviations of the luma and of its Laplacian. `color` is "gray" where the channels hardly differ.

    A model that does well on these alone has learnt the light or the camera, not the face.
    """

    brightness: float
    contrast: float
    saturation: float
    sharpness: float
    red: float
    green: float
    blue: float
    color: str


def statistics(image: NDArray[np.uint8]) -> Statistics:
    """Brightness, contrast, saturation, sharpness and mean color of one image (size, size, 3)."""
    reduced = Image.fromarray(image).reduce(max(1, len(image) // 128))
    luma = np.asarray(reduced.convert("L"), dtype=np.float32)
    laplacian = 4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    channels = [np.asarray(channel, dtype=np.float32) for channel in reduced.reduce(2).split()]
    saturation = float((np.maximum.reduce(channels) - np.minimum.reduce(channels)).mean())
    red, green, blue = (float(channel.mean()) for channel in channels)
    return Statistics(
        brightness=float(luma.mean()),
        contrast=float(luma.std()),
        saturation=saturation,
        sharpness=float(laplacian.std()),
        red=red,
        green=green,
        blue=blue,
        color="gray" if saturation < _GRAY_SATURATION else "color",
    )
