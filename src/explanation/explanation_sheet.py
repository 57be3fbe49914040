"""The figure of what predictions rest on; apart from `explanation`, so that explaining needs no matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from ..reports.figure_style import GREEN, RED, sheet, show_image, styled
from .explanation import METHOD_NAMES, Explanation

SIDE, HEAD, CAPTION, NAMES = 1.65, 0.4, 0.4, 0.35
"""Inches: side of an image, height of the title and of the captions, width of the methods' names."""


@styled
def explanation_sheet(explanation: Explanation, threshold: float, class_names: Sequence[str]) -> Figure:
    """A column per image: the image with its caption, then each method's map laid over it."""
    methods, top = list(explanation.maps), HEAD + CAPTION
    width = max(len(explanation.images) * SIDE + NAMES + 0.1, 5)
    title = "What the most confident predictions rest on"
    figure, ax = sheet(width, top + (len(methods) + 1) * SIDE + 0.05, title)
    for place, method in enumerate(methods, start=1):
        middle = top + (place + 0.5) * SIDE
        ax.text(NAMES / 2, middle, METHOD_NAMES[method], rotation=90, ha="center", va="center")
    rows = explanation.predictions.iterrows()
    for column, (image, (_, row)) in enumerate(zip(explanation.images, rows, strict=True)):
        left = NAMES + column * SIDE
        right = (row["probability"] >= threshold) == (row["label"] == 1)
        caption = f"P({class_names[1]})={row['probability']:.3f}\ntruly {class_names[int(row['label'])]}"
        middle, color = left + SIDE / 2, GREEN if right else RED
        ax.text(middle, top - 0.05, caption, ha="center", va="bottom", fontsize=9, color=color)
        show_image(ax, image, left, top, SIDE - 0.08)
        for place, method in enumerate(methods, start=1):
            importance, at = explanation.maps[method][column], (left, top + place * SIDE, SIDE - 0.08)
            show_image(ax, image.mean(axis=-1), *at, cmap="gray", vmin=0, vmax=255)
            most = max(float(importance.max()), 1e-9)
            show_image(ax, importance, *at, cmap="inferno", alpha=0.55, vmin=0, vmax=most)
    return figure
