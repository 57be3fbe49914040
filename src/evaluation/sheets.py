"""Figures made of images: contact sheets with what the model said beside what is true."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..reports.figure_style import GREEN, RED, sheet, show_image, styled

Images = NDArray[np.uint8]
CELL, HEAD, CAPTION = (1.9, 2.25), 0.4, 0.4
"""Inches: width and height of an image with its caption, height of the title and of a caption."""


@styled
def contact_sheet(images: Images, captions: Sequence[str], right: Sequence[bool], title: str) -> Figure:
    """Images (n, height, width, 3) in rows of up to 6, captions green where `right` and red where not."""
    columns = min(6, max(len(captions), 1))
    rows = max(ceil(len(captions) / columns), 1)
    width = max(columns * CELL[0], 4.5)
    figure, ax = sheet(width, rows * CELL[1] + HEAD, title)
    if not captions:
        ax.text(width / 2, HEAD + CELL[1] / 2, "none", ha="center", fontsize=12)
    for place, (image, caption, good) in enumerate(zip(images, captions, right, strict=True)):
        left, top = place % columns * CELL[0] + 0.1, HEAD + place // columns * CELL[1]
        smoothing = "nearest" if len(image) < 96 else "antialiased"
        show_image(ax, image, left, top + CAPTION, CELL[0] - 0.2, interpolation=smoothing)
        middle, color = left + CELL[0] / 2 - 0.1, GREEN if good else RED
        ax.text(middle, top + CAPTION - 0.05, caption, ha="center", va="bottom", fontsize=9, color=color)
    return figure


def most_wrong(
    images: Images,
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    *,
    threshold: float = 0.5,
    class_names: Sequence[str] = ("sad", "happy"),
) -> Figure:
    """The given images, already chosen and in order, with probability and true class.

    `images` is (n, height, width, 3) uint8; labels and probabilities are (n,).
    """
    captions = [
        f"P({class_names[1]})={probability:.3f}\ntruly {class_names[int(label)]}"
        for label, probability in zip(labels, probabilities, strict=True)
    ]
    right = [bool(label) == bool(value >= threshold) for label, value in zip(labels, probabilities, strict=True)]
    return contact_sheet(images, captions, right, "Most wrong images")
