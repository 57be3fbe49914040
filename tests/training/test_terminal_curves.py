"""Learning curves in the terminal: only where they can be read, and right where they are shown."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from src.training.terminal_curves import ROWS, show_curves

LOSS = [0.7, 0.5, 0.4, 0.3, 0.25]
VALIDATED = [0.72, 0.6, 0.55, 0.58, 0.62]
HISTORY = {"loss": LOSS, "val_loss": VALIDATED, "accuracy": [1 - value for value in LOSS]}
HISTORY |= {"val_accuracy": [1 - value for value in VALIDATED]}


def shown(
    epochs: int = 5, *, width: int = 100, terminal: bool = True, encoding: str = "utf-8", no_color: bool = True
) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="replace")
    environment = {"TERM": "xterm-256color"}
    console = Console(file=file, width=width, force_terminal=terminal, _environ=environment, no_color=no_color)
    show_curves(console, {name: values[:epochs] for name, values in HISTORY.items()}, best_epoch=min(3, epochs))
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [72, 100, 200])
def test_both_curves_fit_the_width_and_the_kept_epoch_is_named_with_its_values(width: int) -> None:
    lines = shown(width=width).rstrip().split("\n")
    assert len(lines) == ROWS + 5
    assert max(len(line) for line in lines) <= width
    assert "loss 0.400, validation 0.550" in lines[0]
    assert "accuracy 0.600, validation 0.450" in lines[0]
    assert lines[-1] == "⠒⠒ training   ⠂⠂ validation   ⡇ epoch 3, whose weights are kept"
    drawn = [mark for mark in "".join(lines[1:-1]) if "⠁" <= mark <= "⣿"]
    assert len(drawn) > 20


def test_colors_tell_training_from_validation_where_the_terminal_has_them() -> None:
    assert "\x1b[" not in shown().replace("\x1b[0m", "")
    colored = shown(no_color=False)
    assert {"\x1b[34m", "\x1b[33m"} <= set(re.findall(r"\x1b\[\d+m", colored))


@pytest.mark.parametrize(
    "where", [{"terminal": False}, {"width": 71}, {"encoding": "ascii"}, {"encoding": "latin-1"}, {"epochs": 2}]
)
def test_nothing_is_shown_where_it_could_not_be_read(where: dict[str, object]) -> None:
    assert shown() != ""
    assert shown(**where) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 1.0, 1e30])
def test_a_fit_without_validation_or_with_odd_values_is_drawn_too(odd: float) -> None:
    raw = io.StringIO()
    console = Console(file=raw, width=80, force_terminal=True, _environ={"TERM": "xterm"})
    show_curves(console, {"loss": [0.5] * 4, "accuracy": [odd, 1.0, 1.0, 1.0]}, best_epoch=4)
    assert "epoch 4" in raw.getvalue()
    show_curves(console, {"loss": [odd] * 4, "accuracy": [1.0] * 4, "val_loss": [odd, 1, 1, 1]}, best_epoch=1)
    assert "epoch 1" in raw.getvalue()
