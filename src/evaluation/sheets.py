"""Figures made of pictures: contact sheets with what the model said beside what is true."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..reports.figure_style import GREEN, RED, hide_frame, styled

Pictures = NDArray[np.uint8]


@styled
def contact_sheet(pictures: Pictures, captions: Sequence[str], right: Sequence[bool], title: str) -> Figure:
    """Pictures (n, height, width, 3) in rows of up to 6, captions green where `right` and red where not."""
    columns = min(6, max(len(captions), 1))
    rows = max(ceil(len(captions) / columns), 1)
    figure = Figure(figsize=(max(1.9 * columns, 4.5), 2.25 * rows + 0.5))
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    if not captions:
        figure.text(0.5, 0.4, "none", ha="center", fontsize=12)
    for position, (picture, caption, good) in enumerate(zip(pictures, captions, right, strict=True), start=1):
        ax = figure.add_subplot(rows, columns, position)
        ax.imshow(picture, interpolation="nearest" if len(picture) < 96 else "antialiased")
        hide_frame(ax)
        ax.set_title(caption, fontsize=9, fontweight="normal", loc="center", color=GREEN if good else RED)
    return figure


def most_wrong(
    pictures: Pictures,
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    *,
    threshold: float = 0.5,
    class_names: Sequence[str] = ("sad", "happy"),
) -> Figure:
    """The given pictures, already chosen and in order, with probability and true class.

    `pictures` is (n, height, width, 3) uint8; labels and probabilities are (n,).
    """
    captions = [
        f"P({class_names[1]})={probability:.3f}\ntruly {class_names[int(label)]}"
        for label, probability in zip(labels, probabilities, strict=True)
    ]
    right = [bool(label) == bool(value >= threshold) for label, value in zip(labels, probabilities, strict=True)]
    return contact_sheet(pictures, captions, right, "Most wrong pictures")
