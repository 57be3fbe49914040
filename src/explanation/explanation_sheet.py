"""The figure of what predictions rest on; apart from `explanation`, so that explaining needs no matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from ..reports.figure_style import GREEN, RED, hide_frame, styled
from .explanation import METHOD_NAMES, Explanation


@styled
def explanation_sheet(explanation: Explanation, threshold: float, class_names: Sequence[str]) -> Figure:
    """A column per picture: the picture with its caption, then each method's map laid over it."""
    count, methods = max(len(explanation.pictures), 1), list(explanation.maps)
    figure = Figure(figsize=(max(1.7 * count, 5), 1.75 * (len(methods) + 1) + 0.8))
    figure.suptitle("What the most confident predictions rest on", x=0.01, ha="left", fontsize=12, fontweight="bold")
    for column, (picture, (_, row)) in enumerate(
        zip(explanation.pictures, explanation.predictions.iterrows(), strict=True), start=1
    ):
        right = (row["probability"] >= threshold) == (row["label"] == 1)
        ax = figure.add_subplot(len(methods) + 1, count, column)
        ax.imshow(picture)
        caption = f"P({class_names[1]})={row['probability']:.3f}\ntruly {class_names[int(row['label'])]}"
        ax.set_title(caption, fontsize=9, fontweight="normal", loc="center", color=GREEN if right else RED)
        hide_frame(ax)
        for place, method in enumerate(methods, start=1):
            ax = figure.add_subplot(len(methods) + 1, count, place * count + column)
            importance = explanation.maps[method][column - 1]
            ax.imshow(picture.mean(axis=-1), cmap="gray", vmin=0, vmax=255)
            ax.imshow(importance, cmap="inferno", alpha=0.55, vmin=0, vmax=max(float(importance.max()), 1e-9))
            hide_frame(ax)
            if column == 1:
                ax.set_ylabel(METHOD_NAMES[method])
    return figure
