"""Figures of a comparison: what accuracy costs, what each setting does, and how the fits went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..reports.figure_style import BLUE, CYCLE, GRAY, RED, axes, legend_below, styled
from .comparison import Ranking
from .leaderboard import LOSSES, Metric

COST_NAMES = {
    "flops": "MFLOPs of one forward pass",
    "latency_ms": "Latency of one image, ms",
    "parameters": "Parameters",
    "seconds": "Training time, s",
}
MAX_NAMES = 12
MAX_CURVES = 8
MAX_LABEL = 18  # characters beside a point or below a tick; longer ones hide their neighbors
EFFECTS_ACROSS = 4  # settings beside each other
LINE = 30  # characters of a line beside the axes and in a legend
DASHES = ((0, ()), (0, (4, 2)), (0, (1, 1.5)), (0, (6, 1, 1, 1)))


@styled
def pareto_figure(ranking: Ranking, cost: str, metric: Metric) -> Figure:
    """The metric with its interval against a cost column of the board, the front that nothing beats drawn through."""
    board = ranking.board[np.isfinite(ranking.board[cost])].copy()
    if cost == "flops":
        board[cost] /= 1e6
    against = COST_NAMES[cost].partition(",")[0].lower().replace("mflops", "MFLOPs")
    title = f"{_metric_name(metric)} against {against}"
    figure, ax = axes(6.4, 4.4, title, COST_NAMES[cost], _metric_name(metric))
    front = pareto_front(board[cost].to_numpy(), board["mean"].to_numpy(), lower_is_better=metric in LOSSES)
    spread = np.stack([board["mean"] - board["low"], board["high"] - board["mean"]]).clip(min=0)
    ax.errorbar(board[cost], board["mean"], spread, fmt="none", ecolor=GRAY, elinewidth=1, alpha=0.5)
    ax.scatter(board[cost], board["mean"], color=GRAY, zorder=3)
    best = board[front].sort_values(cost)
    ax.plot(best[cost], best["mean"], "o-", color=BLUE, label="nothing is both cheaper and better", zorder=4)
    beaten = board[~front].sort_values("mean", ascending=metric in LOSSES)
    labels = [candidate.label for candidate in ranking.candidates]
    if max(map(len, labels)) > MAX_LABEL or ranking.candidates[0].number:
        labels = [str(number) for number in range(1, len(labels) + 1)]
        ax.set_xlabel(f"{COST_NAMES[cost]} (numbers: rows of the table)")
    for place, row in pd.concat([best, beaten]).head(MAX_NAMES).iterrows():
        label = labels[int(str(place))]
        ax.annotate(label, (row[cost], row["mean"]), xytext=(6, 6), textcoords="offset points", fontsize=9)
    if board[cost].max() > 20 * board[cost].min() > 0:
        ax.set_xscale("log")
    ax.margins(x=0.15)
    legend_below(ax)
    return figure


def pareto_front(cost: NDArray, value: NDArray, *, lower_is_better: bool = False) -> NDArray[np.bool_]:
    """Which points no other point beats: cheaper or as cheap, as good or better, and not the same in both."""
    gain = -value if lower_is_better else value
    cheaper, better = cost[:, None] <= cost, gain[:, None] >= gain
    strictly = (cost[:, None] < cost) | (gain[:, None] > gain)
    return np.asarray(~(cheaper & better & strictly).any(axis=0))


@styled
def main_effects_figure(ranking: Ranking, metric: Metric) -> Figure:
    """The mean of the metric for each value of each differing setting; a dot is one candidate."""
    settings = pd.DataFrame([candidate.settings for candidate in ranking.candidates])
    columns = [name for name in settings if 1 < settings[name].nunique() <= MAX_NAMES]
    across = min(len(columns), EFFECTS_ACROSS)
    rows = -(-len(columns) // EFFECTS_ACROSS)
    figure = Figure(figsize=(max(3.4 * across, 4.5), 3.8 * max(rows, 1)))
    for position, name in enumerate(columns, start=1):
        ax = figure.add_subplot(rows, across, position, title=name, ylabel=_metric_name(metric))
        levels = sorted(settings[name].unique(), key=_natural)
        groups = [ranking.board["mean"][(settings[name] == level).to_numpy()] for level in levels]
        for place, values in enumerate(groups):
            ax.plot(np.full(len(values), place), values, "o", color=GRAY, alpha=0.5)
        ax.plot(range(len(levels)), [values.mean() for values in groups], "o-", color=BLUE)
        if len(levels) < 5 and max(map(len, levels)) <= MAX_LABEL // 2:
            ax.set_xticks(range(len(levels)), levels)
        else:
            lines = [fill(level, MAX_LABEL) for level in levels]
            ax.set_xticks(range(len(levels)), lines, rotation=45, ha="right", rotation_mode="anchor", fontsize=9)
        ax.margins(x=0.2)
    return figure


@styled
def curves_figure(histories: Mapping[str, Sequence[Sequence[float]]], name: str) -> Figure:
    """Learning curves of the first candidates: the mean over seeds, with a band from the lowest to the highest.

    Curves that lie on one another differ in their dashes, so that each still shows.
    """
    shown = {fill(label, 2 * LINE): seeds for label, seeds in list(histories.items())[:MAX_CURVES]}
    columns = 2 if max(map(len, shown)) <= LINE else 1
    more = f", the first {len(shown)} of {len(histories)}" if len(histories) > len(shown) else ""
    figure, ax = axes(6.8, 4.2 + 0.25 * (len(shown) + 1) / columns, f"{name} by epoch{more}", "Epoch", name)
    for dashes, color, (label, seeds) in zip(cycle(DASHES), cycle(CYCLE), shown.items(), strict=False):
        longest = max(len(values) for values in seeds)
        padded = np.array([[*values, *[np.nan] * (longest - len(values))] for values in seeds], dtype=float)
        running = np.isfinite(padded).sum(axis=0) == len(seeds)  # a mean over fewer seeds would jump
        values = padded[:, running]
        epochs = np.arange(1, values.shape[1] + 1)
        if len(seeds) > 1:
            ax.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15, linewidth=0)
        marker = "." if epochs.size < 3 else ""
        ax.plot(epochs, values.mean(axis=0), color=color, linestyle=dashes, label=label, marker=marker)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(ax, columns)
    return figure


@styled
def ranking_figure(ranking: Ranking, metric: Metric) -> Figure:
    """The best candidates with their intervals, best on top; red: worse than the first after correction."""
    shown = ranking.board.head(2 * MAX_NAMES)[::-1]
    against_best = ranking.pairs[ranking.pairs["first"] == 0].set_index("second")["verdict"]
    names = [fill(ranking.candidates[int(str(index))].label, LINE) for index in shown.index]
    lines = max(name.count("\n") for name in names) + 1
    height = 1.1 + (0.16 + 0.16 * lines) * len(shown)
    figure, ax = axes(7.2, height, f"{_metric_name(metric)} with 95 % intervals", _metric_name(metric), "")
    for place, (index, row) in enumerate(shown.iterrows()):
        color = RED if against_best.get(index) == "better" else BLUE
        spread = np.array([[row["mean"] - row["low"]], [row["high"] - row["mean"]]]).clip(min=0)
        ax.errorbar(row["mean"], place, xerr=spread, fmt="o", color=color)
    ax.set_yticks(range(len(shown)), names, fontsize=9)
    ax.set_ylim(-0.7, len(shown) - 0.3)
    return figure


def _metric_name(metric: Metric) -> str:
    return f"Test {metric.replace('_', ' ')}"


def _natural(text: str) -> tuple[int, float, str]:
    """Numbers by size before words by letter."""
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text
