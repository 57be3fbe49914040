"""The same few validation images after each epoch, with how sure the model is of them; without matplotlib."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from ..reports.colors import GREEN, RED

Images = NDArray[np.uint8]


def validation_grid(
    images: Images, labels: NDArray[np.integer], probabilities: NDArray[np.floating], side: int = 96
) -> Images:
    """One image, uint8 (rows * side, columns * side, 3), of up to 8 images a row, each with a bar at its foot.

    The bar is as long as the probability of the true class, green from one half on and red below.
    """
    columns = min(8, len(images))
    rows = ceil(len(images) / columns)
    grid = np.full((rows * side, columns * side, 3), 255, dtype=np.uint8)
    bar = max(2, side // 12)
    for place, (image, label, probability) in enumerate(zip(images, labels, probabilities, strict=True)):
        top, left = place // columns * side, place % columns * side
        tile = np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
        right = float(np.nan_to_num(probability if label == 1 else 1 - probability))  # a lost loss gives nan
        tile[-bar:] = 255
        tile[-bar:, : round(right * side)] = ImageColor.getrgb(GREEN if right >= 0.5 else RED)
        grid[top : top + side, left : left + side] = tile
    return grid
