"""Record of a search on its parent run: its trials, the values that mattered, figures, and the winner."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..config import TuneConfig
from ..reports.pages import markdown_table
from ..reports.style import BLUE, GRAY, INK, SEQUENTIAL, axes, save_png, styled
from ..sweeps.parent import Parent, markdown
from .oracle import Result, Search, Trial, minimized

NOT_SET = -0.12  # where a trial crosses the axis of a value that it does not set
LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0}


@styled
def optimization_history(scores: pd.Series, objective: str, *, minimize: bool) -> Figure:
    """Each completed trial's score by its number, and the best so far."""
    figure, ax = axes(7.2, 4.0, f"Search history, {len(scores)} trials", "Trial", objective)
    best = scores.cummin() if minimize else scores.cummax()
    ax.plot(scores.index, scores, "o", color=GRAY, markersize=5, label="trial")
    ax.step(scores.index, best, where="post", color=BLUE, label="best so far")
    ax.legend(loc="best")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@styled
def parallel_coordinates(values: pd.DataFrame, scores: pd.Series, objective: str, *, minimize: bool) -> Figure:
    """One line for each completed trial through its values, colored by score; the best one is drawn thick."""
    figure = Figure(figsize=(max(7.0, 1.35 * len(values.columns) + 2), 4.8))
    ax = figure.add_subplot(title=f"Values of {len(scores)} trials, colored by {objective}")
    heights = pd.DataFrame({name: _heights(ax, number, values[name]) for number, name in enumerate(values)})
    norm = Normalize(scores.min(), scores.max() if scores.nunique() > 1 else scores.min() + 1e-9)
    colors = matplotlib.colormaps[SEQUENTIAL]
    best = scores.idxmin() if minimize else scores.idxmax()
    for trial in scores.sort_values(ascending=not minimize).index:
        line: dict[str, Any] = {"linewidth": 3.5, "zorder": 3} if trial == best else {"linewidth": 1.2, "alpha": 0.75}
        ax.plot(range(len(values.columns)), heights.loc[trial], color=colors(norm(scores[trial])), **line)
    ax.set_xticks(range(len(values.columns)), [_short(str(name)) for name in values], rotation=25, ha="right")
    ax.set(yticks=[], xlim=(-0.3, len(values.columns) - 0.4), ylim=(NOT_SET - 0.05, 1.06))
    ax.grid(visible=False)
    ax.spines["left"].set_visible(False)
    figure.colorbar(ScalarMappable(norm, colors), ax=ax, label=objective, pad=0.02)
    return figure


def _heights(ax: Axes, number: int, column: pd.Series) -> pd.Series:
    """Draw one axis with its labels; gives where each trial crosses it, from 0 to 1 or NOT_SET."""
    ax.axvline(number, color=GRAY, linewidth=0.8, zorder=1)
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
        ax.text(number + 0.04, height, text, fontsize=8, color=INK, va="center", zorder=4, bbox=LABEL_BOX)
    return heights


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "not set"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _short(key: str) -> str:
    return key.rpartition(".")[2].replace("_", " ")


TREES = 200
REPEATS = 20
MIN_TRIALS = 6


def importances(values: pd.DataFrame, scores: pd.Series) -> pd.Series:
    """Permutation importance (Breiman, 2001) of each column of `values` for `scores`, as shares that add up to 1.

    A random forest is fitted to the completed trials; a share says how much of its explained variance goes with the
    column. Empty for fewer than six trials or scores that are all equal. Shares of few trials are rough.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    if len(scores) < MIN_TRIALS or scores.nunique() < 2:
        return pd.Series(dtype=float)
    codes = values.apply(_as_numbers)
    forest = RandomForestRegressor(TREES, random_state=0).fit(codes, scores)
    found = permutation_importance(forest, codes, scores, n_repeats=REPEATS, random_state=0)
    raw = pd.Series(np.maximum(found["importances_mean"], 0), index=values.columns)
    total = raw.sum()
    return (raw / total if total else raw).sort_values(ascending=False)


def _as_numbers(column: pd.Series) -> pd.Series:
    """Numbers as they are, other values by their order of appearance, empty as -1."""
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float).fillna(-1.0)
    return pd.Series(pd.factorize(column)[0].astype(float), index=column.index)


def trials_table(search: Search, objective: str, space: Sequence[str]) -> pd.DataFrame:
    """One row for each trial in the order of their beginning: its values, status, score, seconds, run and reason."""
    rows = []
    for key, trial in search.trials.items():
        result = search.results.get(key) or search.deferred.get(key) or Result("failed", reason="not ended")
        values = {name: trial.values.get(name) for name in space}
        epochs = {} if trial.epochs is None else {"epochs": trial.epochs}
        facts = {"status": result.status, objective: result.score, "seconds": round(result.seconds, 1)}
        rows.append({"trial": int(key), **values, **epochs, **facts, "run": result.run_id, "reason": result.reason})
    return pd.DataFrame(rows).set_index("trial")


def report(search: Search, config: TuneConfig, folder: Path, *, ended: str) -> Path:
    """Write tables and figures to `folder`/report and give that folder."""
    pages = folder / "report"
    shutil.rmtree(pages, ignore_errors=True)
    (pages / "figures").mkdir(parents=True)
    objective = config.tuner.objective
    table = trials_table(search, objective, list(config.space))
    table.to_csv(pages / "trials.csv")
    done = table[(table["status"] == "completed") & np.isfinite(table[objective].astype(float))]
    text = [f"{summary(search)}; {ended}.", "", markdown(table.reset_index())]
    if len(done) > 1:
        values, scores = done[[name for name in config.space if done[name].notna().any()]], done[objective]
        minimize = minimized(objective)
        for name, figure in {
            "optimization_history": optimization_history(scores, objective, minimize=minimize),
            "parallel_coordinates": parallel_coordinates(values, scores, objective, minimize=minimize),
        }.items():
            save_png(figure, pages / "figures" / f"{name}.png")
        shares = importances(values, scores)
        shares.rename("importance").to_csv(pages / "importance.csv", index_label="value")
        text += ["", *_importance_lines(shares)]
    (pages / "search.md").write_text("\n".join(text))
    return pages


def record(parent: Parent, search: Search, best: tuple[Trial, Result], command: str, pages: Path) -> None:
    """Add the report and the winner to the parent run."""
    trial, result = best
    counts = Counter(each.status for each in search.results.values())
    metrics = {f"sweep/{status}": float(count) for status, count in counts.items()} | dict(result.metrics)
    tags = {"winner.run": result.run_id or "", "winner.command": command, "winner.trial": trial.id}
    note = f"The best trial is {trial.id}:\n\n    {command}\n\n{(pages / 'search.md').read_text()}"
    parent.record(pages, metrics, note[:5000], tags)


def summary(search: Search) -> str:
    """`30 trials: 27 completed, 2 failed, 1 rejected`."""
    ended = [*search.results.values(), *search.deferred.values()]
    counts = Counter(result.status for result in ended)
    listed = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return f"{len(ended)} trials: {listed or 'none ended'}"


def _importance_lines(shares: pd.Series) -> list[str]:
    if shares.empty:
        return []
    return [markdown_table(("value", "importance"), [(str(name), f"{share:.2f}") for name, share in shares.items()])]
