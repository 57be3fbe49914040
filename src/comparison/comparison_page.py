"""A comparison as one self-contained HTML page and as a Markdown table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..metrics.intervals import FEW_GROUPS
from ..reports.figure_style import png
from ..reports.pages import data_uri, render
from .comparison import Comparison, Ranking
from .comparison_figures import COST_NAMES, curves_figure, main_effects_figure, pareto_figure, ranking_figure
from .leaderboard import Metric
from .seeds import MIN_SEEDS

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
    """What one table says, in a sentence: a difference that may be chance is not reported as one."""
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
    """How far being picked on these images may flatter the first, and the score of what validation picks."""
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
    """How many images, and how many seeds, would settle a pair; empty where there is no difference to settle."""
    images, seeds = pair["images_to_settle"], pair["seeds_to_settle"]
    if not pair["difference"]:
        return "", ""
    if not math.isfinite(images) and math.isinf(seeds):
        return "more of both", "more of both"
    of_seeds = f"at least {MIN_SEEDS}" if math.isnan(seeds) else "more images" if math.isinf(seeds) else f"{seeds:,.0f}"
    return f"{images:,.0f}" if math.isfinite(images) else "more seeds", of_seeds
