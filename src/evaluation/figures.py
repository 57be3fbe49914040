"""Figures of one evaluated split and of a training history. Each returns a matplotlib Figure; without pyplot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageColor
from sklearn import metrics

from ..metrics.calibration import coverage_curve, expected_calibration_error, reliability
from ..metrics.intervals import Score, wilson_interval
from ..reports.style import (
    BLUE,
    GRAY,
    GREEN,
    INK,
    ORANGE,
    RED,
    axes,
    hide_frame,
    legend_below,
    sheet,
    show_image,
    styled,
)

CLASS_NAMES = ("sad", "happy")
MAX_SLICES = 24
MAX_LINEAR = 20  # images in a bar, above which the axis is logarithmic
UNIT_SQUARE: dict[str, Any] = {"xlim": (-0.01, 1.01), "ylim": (-0.01, 1.01), "aspect": "equal"}


@styled
def confusion_matrix(
    labels: ArrayLike, probabilities: ArrayLike, *, threshold: float = 0.5, class_names: Sequence[str] = CLASS_NAMES
) -> Figure:
    """Counts and shares of each true class; `class_names` are those of label 0 and label 1."""
    predicted = np.asarray(probabilities) >= threshold
    counts = metrics.confusion_matrix(np.asarray(labels).astype(int), predicted.astype(int), labels=[0, 1])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, ax = axes(4.6, 4.2, f"Confusion, {counts.sum():,} images", "Predicted", "True")
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        color = "white" if shares[row, column] > 0.55 else INK
        text = f"{counts[row, column]:,}\n{shares[row, column]:.1%}"
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize=14)
    hide_frame(ax)
    ax.set_xticks([0, 1], class_names)
    ax.set_yticks([0, 1], class_names)
    ax.tick_params(length=0)
    return figure


@styled
def roc_curve(
    labels: ArrayLike, probabilities: ArrayLike, *, threshold: float = 0.5, area: Score | None = None
) -> Figure:
    """Recall against false-positive rate, with the chosen threshold marked."""
    false_positive_rate, recall, thresholds = metrics.roc_curve(labels, probabilities, drop_intermediate=False)
    title = f"ROC AUC {area}" if area else "ROC curve"
    figure, ax = axes(5.2, 4.6, title, "False-positive rate", "Recall (true-positive rate)")
    ax.plot([0, 1], [0, 1], color=GRAY, linestyle=":", label="chance")
    ax.step(false_positive_rate, recall, where="post", color=BLUE)
    chosen = int(np.flatnonzero(thresholds >= threshold)[-1])
    marker = f"threshold {threshold:.3f}"
    ax.plot(false_positive_rate[chosen], recall[chosen], "o", color=RED, markersize=9, label=marker)
    ax.set(**UNIT_SQUARE)
    ax.legend(loc="lower right")
    return figure


@styled
def precision_recall_curve(
    labels: ArrayLike, probabilities: ArrayLike, *, threshold: float = 0.5, area: Score | None = None
) -> Figure:
    """Precision against recall, with the share of positives and the chosen threshold marked."""
    precision, recall, thresholds = metrics.precision_recall_curve(labels, probabilities)
    title = f"Average precision {area}" if area else "Precision and recall"
    figure, ax = axes(5.6, 4.6, title, "Recall", "Precision")
    share = float(np.mean(np.asarray(labels).astype(bool)))
    ax.axhline(share, color=GRAY, linestyle=":", label=f"share of positives {share:.2f}")
    ax.step(recall, precision, where="post", color=BLUE)
    chosen = min(int(np.searchsorted(thresholds, threshold)), precision.size - 1)
    ax.plot(recall[chosen], precision[chosen], "o", color=RED, markersize=9, label=f"threshold {threshold:.3f}")
    ax.set(**UNIT_SQUARE)
    ax.legend(loc="lower left")
    return figure


@styled
def reliability_diagram(labels: ArrayLike, probabilities: ArrayLike, uncalibrated: ArrayLike | None = None) -> Figure:
    """Share of positives against predicted probability in bins of equal size, with 95 % Wilson intervals."""
    figure, ax = axes(5.2, 4.8, "Reliability", "Predicted probability", "Observed share of positives")
    ax.plot([0, 1], [0, 1], color=GRAY, linestyle=":", label="perfectly calibrated")
    if uncalibrated is not None:
        before = reliability(labels, uncalibrated)
        error = expected_calibration_error(labels, uncalibrated)
        ax.plot(before.predicted, before.observed, "x--", color=ORANGE, label=f"as trained{_error(error)}")
    after = reliability(labels, probabilities)
    low, high = wilson_interval(after.observed, after.count)
    spread = np.stack([after.observed - low, high - after.observed]).clip(min=0)
    error = expected_calibration_error(labels, probabilities)
    ax.errorbar(after.predicted, after.observed, spread, fmt="o-", color=BLUE, label=f"calibrated{_error(error)}")
    ax.set(**UNIT_SQUARE)
    legend_below(ax, columns=1)
    return figure


def _error(value: float) -> str:
    return f" (error {value:.3f})" if np.isfinite(value) else ""


@styled
def coverage_accuracy(labels: ArrayLike, probabilities: ArrayLike, *, threshold: float = 0.5) -> Figure:
    """Accuracy when only the most certain share of the images is answered."""
    curve = coverage_curve(labels, probabilities, threshold)
    title = "Predictor only the certain images"
    figure, ax = axes(5.2, 4.2, title, "Coverage (share of images answered)", "Accuracy of the answers")
    trials = np.arange(1, curve.coverage.size + 1)
    low, high = wilson_interval(curve.accuracy, trials)
    ax.fill_between(curve.coverage, low, high, color=BLUE, alpha=0.15, label="95 % interval")
    ax.plot(curve.coverage, curve.accuracy, color=BLUE)
    settled = low[trials >= min(20, 1 + trials.size // 4)]  # the first few answers alone say nothing
    ax.set(xlim=(0, 1), ylim=(max(0.0, float(settled.min()) - 0.02), 1.005))
    legend_below(ax)
    return figure


@styled
def probability_histogram(
    labels: ArrayLike, probabilities: ArrayLike, *, threshold: float = 0.5, class_names: Sequence[str] = CLASS_NAMES
) -> Figure:
    """Draw the predicted probabilities of both classes about the threshold."""
    truth = np.asarray(labels).astype(bool)
    figure, ax = axes(5.6, 3.8, "Predicted probabilities", f"P({class_names[1]})", "Images")
    bins = np.linspace(0, 1, 41)
    for value, color in ((False, BLUE), (True, ORANGE)):
        ax.hist(
            np.asarray(probabilities)[truth == value],
            bins=bins.tolist(),
            color=color,
            alpha=0.7,
            label=f"truly {class_names[int(value)]}",
        )
    ax.axvline(threshold, color=INK, linestyle="--", linewidth=1.2, label=f"threshold {threshold:.3f}")
    if ax.get_ylim()[1] > MAX_LINEAR:
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.7)  # a single image still shows
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlim(0, 1)
    legend_below(ax, columns=3)
    return figure


@styled
def learning_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """Training (dashed) and validation (solid) of every recorded quantity; epochs count from 1.

    `history` holds one value per epoch under each name; `val_NAME` belongs to NAME. The best validation epoch of
    each panel is marked: the lowest for a loss, the highest otherwise.
    """
    names = [name for name in history if not name.startswith("val_") and len(history[name])]
    panels = [name for name in names if f"val_{name}" in history] or names
    figure = Figure(figsize=(5.0 * max(len(panels), 1), 4.0))
    for position, name in enumerate(panels, start=1):
        title = "ROC AUC" if name == "auc" else name.replace("_", " ").capitalize()
        ax = figure.add_subplot(1, len(panels), position, title=title, xlabel="Epoch", ylabel=title)
        values = np.asarray(history[name], dtype=float)
        marker = "." if values.size < 3 else ""
        ax.plot(np.arange(1, values.size + 1), values, "--", color=GRAY, label="training", marker=marker)
        validation = np.asarray(history.get(f"val_{name}", []), dtype=float)
        if validation.size and np.isfinite(validation).any():
            ax.plot(np.arange(1, validation.size + 1), validation, color=BLUE, label="validation", marker=marker)
            best = int(np.nanargmin(validation) if "loss" in name else np.nanargmax(validation))
            label = f"best {validation[best]:.4g}, epoch {best + 1}"
            ax.plot(best + 1, validation[best], "o", color=GREEN, markersize=9, label=label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_below(ax)
    return figure


@styled
def slices_figure(slices: pd.DataFrame, overall: Score) -> Figure:
    """Accuracy of the worst slices with 95 % intervals; red: worse than the rest after correction; gray: too small."""
    shown = slices.head(MAX_SLICES)[::-1]
    figure, ax = axes(7.6, 1.4 + 0.27 * len(shown), f"Accuracy by slice\nall images {overall}", "Accuracy", "")
    colors = shown["verdict"].map({"worse": RED, "too small": GRAY}).fillna(BLUE)
    for place, (_, row) in enumerate(shown.iterrows()):
        spread = [[row["accuracy"] - row["low"]], [row["high"] - row["accuracy"]]]
        ax.errorbar(row["accuracy"], place, xerr=np.maximum(spread, 0), fmt="o", color=colors.iloc[place])
    names = [f"{row['column'].replace('_', ' ')}: {row['value']}  (n={row['count']})" for _, row in shown.iterrows()]
    ax.set_yticks(range(len(shown)), names, fontsize=9)
    for tick, color in zip(ax.get_yticklabels(), colors, strict=True):
        tick.set_color(INK if color == BLUE else color)
    ax.axvline(overall.value, color=INK, linewidth=1, linestyle="--")
    ax.set_xlim(right=1.005)
    ax.set_ylim(-0.7, len(shown) - 0.3)
    return figure


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
