"""Figures of a search: the score of each trial in time, and its values side by side."""

from __future__ import annotations

import math
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.evaluation.style import BLUE, GREY, INK, SEQUENTIAL, axes, styled

NOT_SET = -0.12  # where a trial crosses the axis of a value that it does not set
LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0}


@styled
def optimisation_history(scores: pd.Series, objective: str, *, minimise: bool) -> Figure:
    """Each completed trial's score by its number, and the best so far."""
    figure, pair = axes(7.2, 4.0, f"Search history, {len(scores)} trials", "Trial", objective)
    best = scores.cummin() if minimise else scores.cummax()
    pair.plot(scores.index, scores, "o", color=GREY, markersize=5, label="trial")
    pair.step(scores.index, best, where="post", color=BLUE, label="best so far")
    pair.legend(loc="best")
    pair.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@styled
def parallel_coordinates(values: pd.DataFrame, scores: pd.Series, objective: str, *, minimise: bool) -> Figure:
    """One line for each completed trial through its values, coloured by score; the best one is drawn thick."""
    figure = Figure(figsize=(max(7.0, 1.35 * len(values.columns) + 2), 4.8))
    pair = figure.add_subplot(title=f"Values of {len(scores)} trials, coloured by {objective}")
    heights = pd.DataFrame({name: _heights(pair, number, values[name]) for number, name in enumerate(values)})
    norm = Normalize(scores.min(), scores.max() if scores.nunique() > 1 else scores.min() + 1e-9)
    colours = matplotlib.colormaps[SEQUENTIAL]
    best = scores.idxmin() if minimise else scores.idxmax()
    for trial in scores.sort_values(ascending=not minimise).index:
        line: dict[str, Any] = {"linewidth": 3.5, "zorder": 3} if trial == best else {"linewidth": 1.2, "alpha": 0.75}
        pair.plot(range(len(values.columns)), heights.loc[trial], color=colours(norm(scores[trial])), **line)
    pair.set_xticks(range(len(values.columns)), [_short(str(name)) for name in values], rotation=25, ha="right")
    pair.set(yticks=[], xlim=(-0.3, len(values.columns) - 0.4), ylim=(NOT_SET - 0.05, 1.06))
    pair.grid(visible=False)
    pair.spines["left"].set_visible(False)
    figure.colorbar(ScalarMappable(norm, colours), ax=pair, label=objective, pad=0.02)
    return figure


def _heights(pair: Axes, number: int, column: pd.Series) -> pd.Series:
    """Draw one axis with its labels; gives where each trial crosses it, from 0 to 1 or NOT_SET."""
    pair.axvline(number, color=GREY, linewidth=0.8, zorder=1)
    if pd.api.types.is_numeric_dtype(column) and column.nunique() > 6:
        spaced = np.log(column) if column.min() > 0 and column.max() / column.min() > 20 else column
        low, high = spaced.min(), spaced.max()
        labels = {0.0: f"{column.min():.3g}", 1.0: f"{column.max():.3g}"}
        heights = ((spaced - low) / (high - low)).fillna(NOT_SET)
        labels |= {NOT_SET: "not set"} if column.isna().any() else {}
    else:
        shown = column.map(_text)
        kinds = sorted(shown.unique(), key=lambda text: (text != "not set", len(text), text))
        places = np.linspace(0, 1, len(kinds)) if len(kinds) > 1 else np.array([0.5])
        labels = dict(zip(places, kinds, strict=True))
        heights = shown.map(dict(zip(kinds, places, strict=True)))
    for height, text in labels.items():
        pair.text(number + 0.04, height, text, fontsize=8, color=INK, va="center", zorder=4, bbox=LABEL_BOX)
    return heights


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "not set"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _short(key: str) -> str:
    return key.rpartition(".")[2].replace("_", " ")
