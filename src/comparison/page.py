"""Figures of a comparison: what accuracy costs, what each setting does, and how the fits went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..metrics.intervals import FEW_GROUPS
from ..reports.pages import data_uri, render
from ..reports.style import BLUE, CYCLE, GRAY, RED, axes, legend_below, png, styled
from .comparison import Comparison, Ranking
from .leaderboard import LOSSES, Metric
from .paired import MIN_SEEDS

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
    """The points that no other point beats: cheaper or as cheap, as good or better, and not the same in both."""
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


MAX_ROWS = 100
MAX_PAIRS = 45
Histories = Mapping[str, Sequence[Sequence[float]]]

PAIR_COLUMNS = (
    "first",
    "second",
    "difference",
    "95 % interval",
    "p",
    "p, Holm",
    "images to settle",
    "seeds to settle",
    "verdict",
)
NOTES = (
    "A row is one config; its seeds and folds are pooled. The interval covers the choice of test images (bootstrap "
    "over groups of near-duplicates) and, where there are several seeds, the spread between them.",
    "The interval of the first row is longer on its worse side, as the row was picked for its score on these images.",
    "Where no config has several seeds, verdicts are about these trained models: configs trained again may turn out "
    "the other way. Where some have several, those with one seed are given the spread of the others.",
    "A difference counts only if its interval excludes 0 and its p-value (for accuracy McNemar's exact test), "
    "corrected by Holm over all pairs of the table, is below 0.05.",
    "Images to settle: how many test images would show the observed difference with 80 % power; "
    "'more seeds' where the spread between seeds hides it however many images there are. Seeds to settle: how many "
    "seeds of both configs would, on these images; where no config has several, as if accuracies spread by 0.4 in "
    "log-odds. 'More of both' where neither alone is enough.",
)
CORRUPTION_NOTE = (
    "Corruption error against baseline: 1 is as good as it, over the corruptions and severities that both were tested "
    "at, which may be others from row to row; empty where there are none."
)


def render_markdown(comparison: Comparison) -> str:
    """The leaderboard and verdicts as Markdown tables."""
    return render("comparison.md", **_content(comparison))


def render_html(comparison: Comparison, histories: Histories) -> str:
    """The whole comparison as one page; `histories` are validation curves by candidate of the first table."""
    content = _content(comparison)
    for place, ranking in enumerate(comparison.rankings):
        drawn = comparison_figures(ranking, comparison.metric, histories if place == 0 else {})
        content["rankings"][place]["figures"] = {name: data_uri(png(figure)) for name, figure in drawn.items()}
    return render("comparison.html", **content)


def comparison_figures(ranking: Ranking, metric: Metric, histories: Histories) -> dict[str, Figure]:
    """The figures that this ranking has something to show in, by name."""
    drawn = {"ranking": ranking_figure(ranking, metric)}
    if len(ranking.candidates) > 1:
        costs = [cost for cost in COST_NAMES if np.isfinite(ranking.board[cost]).sum() > 1]
        drawn |= {f"pareto_{cost}": pareto_figure(ranking, cost, metric) for cost in costs if cost != "parameters"}
    if len(ranking.candidates) > 2:  # of two, the ranking says as much
        drawn["main_effects"] = main_effects_figure(ranking, metric)
    if histories:
        drawn["learning_curves"] = curves_figure(histories, "Validation accuracy")
    return drawn


def _content(comparison: Comparison) -> dict[str, Any]:
    notes = list(NOTES)
    if any(np.isfinite(ranking.board["mce"]).any() for ranking in comparison.rankings):
        notes.append(CORRUPTION_NOTE)
    if comparison.excluded:
        names = ", ".join(run.name for run in comparison.excluded)
        notes.append(f"Excluded, because they recorded no test predictions: {names}.")
    notes += [
        f"Few: the test images of {ranking.dataset} fall into {ranking.groups} groups; take intervals from below "
        f"{FEW_GROUPS} groups as rough."
        for ranking in comparison.rankings
        if ranking.groups < FEW_GROUPS
    ]
    return {
        "metric": comparison.metric.replace("_", " "),
        "rankings": [_section(ranking, comparison.metric) for ranking in comparison.rankings],
        "notes": notes,
        "summary": summary(comparison),
    }


def summary(comparison: Comparison) -> str:
    """The answer of the only table, or how many tables there are."""
    if len(comparison.rankings) == 1:
        return verdict(comparison.rankings[0], comparison.metric)
    names = ", ".join(dict.fromkeys(ranking.dataset for ranking in comparison.rankings))
    return (
        f"The runs were evaluated on {len(comparison.rankings)} different sets of test images ({names}). Scores on "
        "different images are not comparable, so each set has its own table and its own answer."
    )


def verdict(ranking: Ranking, metric: Metric) -> str:
    """State a table's result in one sentence: a difference that may be chance is not reported as one."""
    best, row, others = ranking.candidates[0], ranking.board.iloc[0], len(ranking.candidates) - 1
    score = f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    if not others:
        return f"{best.label}: test {metric.replace('_', ' ')} {score}; nothing else was evaluated on these images."
    choice = _choice(ranking, metric)
    against = ranking.pairs[ranking.pairs["first"] == 0]
    clear = int((against["verdict"] == "better").sum())
    images = f"{ranking.test_set.codes.size:,} test images"
    if clear == 0:
        rest = ranking.candidates[1].label if others == 1 else f"any of the {others} others"
        outcome = f"{best.label} scores best, {score}, but {images} do not distinguish it from {rest}"
        return f"No significant difference: {outcome}. {choice}"
    if clear == others:
        rest = ranking.candidates[1].label if others == 1 else f"all {others} others"
        outcome = f"{best.label} is better than {rest}: {score} on {images}."
    else:
        outcome = f"{best.label} scores best, {score}: better than {clear} of the {others} others, not distinguishable "
        outcome += "from the rest."
    return f"{_of_trained_models(outcome, against) if ranking.one_seed_each else outcome} {choice}"


def _choice(ranking: Ranking, metric: Metric) -> str:
    """Bound the bias of picking the first on these images, and give the score of the one that validation picks."""
    text = (
        f"Being the best of {len(ranking.candidates)} flatters its score, by {ranking.optimism:.3f} if all were "
        "equally good; its interval allows for that."
    )
    if ranking.picked is None:
        return text
    low, high = ranking.picked_interval
    score = f"test {metric.replace('_', ' ')} {ranking.board['mean'][ranking.picked]:.3f} [{low:.3f}, {high:.3f}]"
    label = ranking.candidates[ranking.picked].label
    return f"{text} Picked on validation: {label}, {score}, which no choice flatters."


def _of_trained_models(outcome: str, against: pd.DataFrame) -> str:
    """A verdict on models of one seed each, and how many seeds would say as much of their configs."""
    needed = against["seeds_to_settle"][against["verdict"] == "better"].max()
    if np.isposinf(needed):
        seeds = "more seeds, and more images,"
    else:
        seeds = f"about {needed:,.0f} seeds of each" if np.isfinite(needed) else f"at least {MIN_SEEDS} seeds of each"
    return f"As trained models, one seed each: {outcome} Whether the configs differ, {seeds} would settle."


def _section(ranking: Ranking, metric: Metric) -> dict[str, Any]:
    images = ranking.test_set.codes.size
    first = ranking.candidates[0]
    settings = [] if first.number else list(first.settings)
    costs = [name for name in ("seconds", *_OTHER_COSTS) if np.isfinite(ranking.board[name]).any()]
    columns = [
        "",
        *([key.removesuffix(".name") for key in settings] or ["model"]),
        "seeds",
        f"test {metric.replace('_', ' ')}",
        "95 % interval",
    ]
    few = len(ranking.pairs) <= MAX_PAIRS
    pairs = ranking.pairs if few else ranking.pairs[ranking.pairs["first"] == 0].head(MAX_PAIRS)
    return {
        "title": f"{ranking.dataset}: {images:,} test images",
        "digest": ranking.test_set.digest,
        "verdict": verdict(ranking, metric),
        "setting_count": max(len(settings), 1),
        "columns": [*columns, *(_COST_TITLES[name] for name in costs)],
        "described": [(each.number, each.described) for each in ranking.candidates[:MAX_ROWS] if each.number],
        "rows": [_row(ranking, place, settings, costs) for place in range(min(len(ranking.candidates), MAX_ROWS))],
        "pairs_title": "Every pair" if few else "The best against the others",
        "pair_columns": PAIR_COLUMNS,
        "pair_rows": [_pair_row(ranking, pair) for pair in pairs.to_dict("records")],
        "figures": {},
    }


_OTHER_COSTS = ("parameters", "flops", "latency_ms", "megabytes", "mce")
_COST_TITLES = {
    "seconds": "training, s",
    "parameters": "parameters",
    "flops": "MFLOPs",
    "latency_ms": "latency, ms",
    "megabytes": "size, MB",
    "mce": "corruption error against baseline",
}


def _row(ranking: Ranking, place: int, settings: Sequence[str], costs: Sequence[str]) -> list[str]:
    candidate, board = ranking.candidates[place], ranking.board.iloc[place]
    named = [candidate.settings[key] for key in settings] or [candidate.model]
    score = [f"{board['mean']:.4f}", f"{board['low']:.4f} to {board['high']:.4f}"]
    formats = {"mce": "{:.2f}", "parameters": "{:,.0f}"}
    shown = {"flops": board["flops"] / 1e6}
    values = {name: shown.get(name, board[name]) for name in costs}
    cells = [
        formats.get(name, "{:,.1f}").format(value) if math.isfinite(value) else "" for name, value in values.items()
    ]
    return [str(place + 1), *named, str(int(board["seeds"])), *score, *cells]


def _pair_row(ranking: Ranking, pair: Mapping[Any, Any]) -> dict[str, Any]:
    verdict = pair["verdict"]
    if verdict == "not distinguishable":
        verdict += f" with n={ranking.test_set.codes.size:,}"
    cells = [
        ranking.candidates[pair["first"]].label,
        ranking.candidates[pair["second"]].label,
        f"{pair['difference']:+.4f}",
        f"{pair['low']:+.4f} to {pair['high']:+.4f}",
        f"{pair['p_value']:.3g}",
        f"{pair['p_corrected']:.3g}",
        *_needed(pair),
        verdict,
    ]
    return {"cells": cells, "kind": "same" if pair["verdict"] == "not distinguishable" else "better"}


def _needed(pair: Mapping[Any, Any]) -> tuple[str, str]:
    """Estimate the images, and the seeds, that would settle a pair; empty where there is no difference to settle."""
    images, seeds = pair["images_to_settle"], pair["seeds_to_settle"]
    if not pair["difference"]:
        return "", ""
    if not math.isfinite(images) and math.isinf(seeds):
        return "more of both", "more of both"
    of_seeds = f"at least {MIN_SEEDS}" if math.isnan(seeds) else "more images" if math.isinf(seeds) else f"{seeds:,.0f}"
    return f"{images:,.0f}" if math.isfinite(images) else "more seeds", of_seeds
