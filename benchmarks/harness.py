"""Measurements in turn, their table of ratios in RESULTS.md, and the choice of measurements by name.

The machine's load changes from minute to minute, so what is compared is measured A B A B, and a ratio is the median of
the ratios of the rounds.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console

from src.config import PROJECT_ROOT

ROUNDS = 5
RESULTS = PROJECT_ROOT / "benchmarks" / "RESULTS.md"
NUMBERS = PROJECT_ROOT / "benchmarks" / "results.json"
BEGIN, END = "<!-- made by `python -m benchmarks speed` -->", "<!-- end of the table -->"
PACKAGES = ("tensorflow", "keras", "mlflow", "numpy", "ai-edge-litert")


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured against which yardstick, and whether the target is reached.

    `found` holds one value for each round, in `unit` (`x` for a ratio, `s`, `%`); the target is `bound`, at least or at
    most. `took` are the medians behind the ratio, in seconds or whatever the name says.
    """

    what: str
    yardstick: str
    found: list[float]
    unit: str
    bound: float
    at_least: bool = True
    took: Mapping[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return float(np.median(self.found))

    @property
    def reached(self) -> bool:
        """Whether the median is on the right side of the bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    @property
    def cells(self) -> list[str]:
        """The row as text."""
        spread = f" ({self._text(min(self.found))} to {self._text(max(self.found))})" if len(self.found) > 1 else ""
        target = f"{'at least' if self.at_least else 'at most'} {self._text(self.bound)}"
        took = ", ".join(f"{name} {value:,.3g}" for name, value in self.took.items())
        verdict = "reached" if self.reached else "**missed**"
        return [self.what, self.yardstick, f"{self._text(self.value)}{spread}", target, verdict, took]

    def _text(self, value: float) -> str:
        return f"{value:.0f} %" if self.unit == "%" else f"{value:.2f} {self.unit}"


def in_turn(works: Mapping[str, Callable[[], float | None]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of each work in each round, all works in turn within a round.

    A work that returns a number has measured itself.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            started = time.perf_counter()
            seconds = work()
            found[name].append(time.perf_counter() - started if seconds is None else seconds)
    return found


def faster(what: str, yardstick: str, found: Mapping[str, list[float]], names: tuple[str, str], bound: float) -> Row:
    """How many times as fast as the second the first of `names` is, at least `bound`."""
    ours, theirs = names
    ratios = [slow / quick for quick, slow in zip(found[ours], found[theirs], strict=True)]
    return Row(what, yardstick, ratios, "x", bound, took={name: float(np.median(found[name])) for name in names})


def header() -> dict[str, str]:
    """What the numbers depend on beside the code."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{len(os.sched_getaffinity(0))} cores of {models[0] if models else platform.machine()}, "
        f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "versions": f"Python {platform.python_version()}, "
        + ", ".join(f"{package} {version(package)}" for package in PACKAGES),
        "threads": f"intra-op {os.environ.get('TF_NUM_INTRAOP_THREADS', 'as many as cores')}",
        "load at the start": ", ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def markdown(about: Mapping[str, str], rows: list[Row]) -> str:
    """The header and the table of all rows."""
    lines = [f"- {name}: {value}" for name, value in about.items()]
    titles = ["what", "yardstick, same run", "measured (lowest to highest)", "target", "", "medians"]
    lines += ["", f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    lines += [f"| {' | '.join(row.cells)} |" for row in rows]
    return "\n".join(lines)


def write(about: Mapping[str, str], rows: list[Row]) -> None:
    """Put the table in its place in RESULTS.md, leaving the rest as it is, and the numbers into results.json."""
    text = RESULTS.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    RESULTS.write_text(f"{before}{BEGIN}\n\n{markdown(about, rows)}\n\n{END}{after}")
    numbers = [{**asdict(row), "value": row.value, "reached": row.reached} for row in rows]
    NUMBERS.write_text(json.dumps({"about": dict(about), "rows": numbers}, indent=1) + "\n")


def show(rows: list[Row]) -> None:
    """Print rows as they are found."""
    for row in rows:
        Console().print(" · ".join(cell for cell in row.cells if cell), highlight=False, soft_wrap=True)


def amounts(chosen: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Return the chosen measurements (`NAME` or `NAME=AMOUNT`), or all, with amounts. Exit for an unknown name."""
    given = dict(word.partition("=")[::2] for word in chosen) or dict(defaults)
    if unknown := given.keys() - defaults.keys():
        sys.exit(f"{', '.join(sorted(unknown))}: no such measurement; there are {', '.join(defaults)}")
    return {name: amount or defaults[name] for name, amount in given.items()}
