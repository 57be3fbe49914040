"""Colors that color-blind readers can distinguish (Okabe and Ito 2008)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"


CYCLE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY)
GRAY, LIGHT_GRAY, INK = "#8A8A8A", "#D9D9D9", "#222222"
DPI = 110
SEQUENTIAL = "cividis"  # as even in brightness for color-blind readers as for others

STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GRAY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=CYCLE),
    "grid.color": LIGHT_GRAY,
    "grid.linewidth": 0.6,
    "lines.linewidth": 2,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "figure.constrained_layout.use": True,
    "text.color": INK,
}

Parameters = ParamSpec("Parameters")


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Make a function that draws a Figure draw it in the project's style, leaving matplotlib's own settings alone."""

    @wraps(draw)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped


def save_png(figure: Figure, target: Path | BytesIO) -> None:
    """Write a figure as PNG. Compressing it harder takes longer than drawing it and saves a few kilobytes.

    The canvas lays a figure out while it draws it; `savefig` would draw all of it unseen before.
    """
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    canvas.print_png(target, pil_kwargs={"compress_level": 1})


def png(figure: Figure) -> bytes:
    """The bytes of a figure's PNG file."""
    buffer = BytesIO()
    save_png(figure, buffer)
    return buffer.getvalue()


def axes(width: float, height: float, title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """A figure of `width` x `height` inches with one labeled set of axes."""
    figure = Figure(figsize=(width, height))
    ax = figure.add_subplot(title=title, xlabel=x, ylabel=y)
    return figure, ax


def sheet(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure of `width` x `height` inches whose one set of axes, without frame, measures inches from the upper
    left corner. Making, laying out and drawing axes for each of many images takes longer than drawing the images.
    """
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    ax.set_axis_off()
    ax.set_autoscale_on(False)
    ax.text(0.1, 0.1, title, va="top", fontsize=12, fontweight="bold")
    return figure, ax


def show_image(ax: Axes, image: Any, left: float, top: float, side: float, **how: Any) -> None:
    """Draw a square image on the axes of a `sheet`; `how` is `imshow`'s."""
    ax.imshow(image, extent=(left, left + side, top + side, top), aspect="auto", **how)


def legend_below(ax: Axes, columns: int = 2) -> None:
    """A legend under the axes, where it hides nothing of what they show."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=columns)


def hide_frame(ax: Axes) -> None:
    """Axes without ticks, grid and spines: for images and matrices."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)
