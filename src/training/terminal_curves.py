"""Learning curves as text, for a person who watches a fit in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

MIN_EPOCHS = 3
MIN_COLUMNS, MAX_COLUMNS, ROWS = 72, 108, 10
LABELS = 12  # columns that the frame, the numbers of the y axis and the gap beside a plot take
TRAINING, VALIDATION = "blue", "yellow"


def show_curves(console: Console, history: Mapping[str, Sequence[float]], best_epoch: int) -> None:
    """Print loss and accuracy of each epoch side by side, where `console` is a terminal with room for them.

    `history` has `loss`, `accuracy` and, where there was a validation, `val_loss` and `val_accuracy`, by epoch;
    `best_epoch`, from 1 on, is marked. Prints nothing for fewer than three epochs.
    """
    if not _has_room(console) or len(history["loss"]) < MIN_EPOCHS:
        return
    columns = min(console.width, MAX_COLUMNS) // 2 - LABELS
    colored = console.color_system is not None and not console.no_color
    grid = Table.grid(padding=(0, 2))
    grid.add_row(*(_plot(history, name, best_epoch, columns, colored) for name in ("loss", "accuracy")))
    console.print(grid)
    validation = ("⠒⠒ validation" if colored else "⠂⠂ validation", VALIDATION)
    console.print(
        Text.assemble(("⠒⠒ training", TRAINING), "   ", validation, f"   ⡇ epoch {best_epoch}, whose weights are kept")
    )


def _has_room(console: Console) -> bool:
    text = console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf")
    return text and console.width >= MIN_COLUMNS


def _plot(history: Mapping[str, Sequence[float]], name: str, best_epoch: int, columns: int, colored: bool) -> Text:
    """Lines in colors; without colors validation is dots, so that the two can be told apart."""
    from uniplot import plot_to_string

    series = [np.asarray(history[key], float) for key in (name, f"val_{name}") if key in history]
    finite = [np.flatnonzero(np.isfinite(values)) for values in series]
    if not all(map(len, finite)):
        return Text(f"{name}: no finite numbers")
    titles = (name, "validation")
    plot = plot_to_string(
        ys=[values[kept] for values, kept in zip(series, finite, strict=True)],
        xs=[kept + 1 for kept in finite],
        lines=[True, colored][: len(series)],
        color=[TRAINING, VALIDATION][: len(series)] if colored else False,
        character_set="braille",
        title=", ".join(f"{title} {values[best_epoch - 1]:.3f}" for title, values in zip(titles, series, strict=False)),
        width=columns,
        height=ROWS,
        x_gridlines=[best_epoch],
        y_gridlines=[],
    )
    return Text.from_ansi(plot)
