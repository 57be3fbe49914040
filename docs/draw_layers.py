"""Draw docs/layers.svg, the packages and the way of a run through them: `python -m docs.draw_layers`.

The order of the packages is that of the import contract in pyproject.toml, their purposes are those in CONTRIBUTING.md.
"""

from __future__ import annotations

import re
import tomllib
from html import escape
from itertools import pairwise
from pathlib import Path

from src.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
TARGET = Path(__file__).with_name("layers.svg")

# One run: the layer that is at work, what it does, what it hands on.
STEPS = (
    ("commands", "python -m src.train model=deep", ""),
    ("config", "compose and check", "Config"),
    ("data", "prepare", "PreparedDataset"),
    ("models", "build", "Model"),
    ("training", "fit", "Fit"),
    ("evaluation", "evaluate", "Evaluation"),
    ("tracking", "record", "MLflow run"),
)
ROW, TOP, NAMES, PURPOSES, LANE, STEP, WIDTH = 38, 58, 24, 276, 752, 75, 1380
INK, GREY, TINT, PATH = "#1f2933", "#52606d", "#f0f4f8", "#b7451a"


def layers() -> list[tuple[str, str]]:
    """Names and purpose of each layer, highest first, the commands before all."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    order = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    purposes = dict(re.findall(r"^\| `([a-z_]+)`.*? \| (.*) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    layered = [re.findall(r"\w+", layer) for layer in order]
    names = [layer for layer in layered if not {*COMMANDS, "__main__"} & set(layer)]
    commands = ("commands", ", ".join(COMMANDS))
    return [commands, *((", ".join(layer), purposes[layer[0]].partition(": ")[0]) for layer in names)]


def text(x: float, y: float, words: str, style: str = "") -> str:
    """One line of text whose baseline is at `y`."""
    return f'<text x="{x}" y="{y}" {style}>{escape(words)}</text>'


def draw() -> str:
    """The SVG: a row for each layer on the left, the run as a path over the same rows on the right."""
    rows = layers()
    height = TOP + ROW * len(rows) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{PATH}"/></marker></defs>',
        text(NAMES, 36, "Packages: each imports only from those below it", 'font-size="16" font-weight="600"'),
        text(LANE, 36, "One run, through the same rows", 'font-size="16" font-weight="600"'),
    ]
    parts += [line for place, row in enumerate(rows) for line in _row(place, *row)]
    parts += _path([name for name, _ in rows])
    parts.append(text(NAMES, height - 16, "Drawn by python -m docs.draw_layers", f'fill="{GREY}" font-size="11"'))
    return "\n".join([*parts, "</svg>\n"])


def _row(place: int, names: str, purpose: str) -> list[str]:
    top = TOP + ROW * place
    weight = 'font-weight="600" font-family="ui-monospace, monospace"'
    return [
        f'<rect x="12" y="{top}" width="{WIDTH - 24}" height="{ROW - 4}" rx="4" fill="{TINT}"/>',
        text(NAMES, top + 22, names, f'{weight} font-size="{13 if len(names) < 22 else 10}"'),
        text(PURPOSES, top + 22, purpose, f'fill="{GREY}" font-size="11.5"'),
    ]


def _path(names: list[str]) -> list[str]:
    """A numbered dot for each step in the row of its layer, what it hands on, and an arrow to the next."""
    dots = [
        (LANE + 16 + STEP * number, TOP + ROW * names.index(layer) + ROW / 2 - 2)
        for number, (layer, _, _) in enumerate(STEPS)
    ]
    parts = []
    for (x, y), (next_x, next_y) in pairwise(dots):
        start = y + 12 if next_y > y else y - 12
        parts.append(
            f'<path d="M{x} {start}C{x} {next_y} {x} {next_y} {next_x - 13} {next_y}" fill="none" '
            f'stroke="{PATH}" stroke-width="1.6" marker-end="url(#head)"/>'
        )
    for number, ((x, y), (_, action, result)) in enumerate(zip(dots, STEPS, strict=True), start=1):
        parts.append(f'<circle cx="{x}" cy="{y}" r="11" fill="{PATH}"/>')
        parts.append(text(x, y + 4.5, str(number), 'fill="#ffffff" text-anchor="middle" font-weight="600"'))
        handed_on = f' <tspan fill="{GREY}" font-weight="400">{escape(result)}</tspan>' if result else ""
        parts.append(f'<text x="{x + 18}" y="{y + 4.5}" font-weight="600">{escape(action)}{handed_on}</text>')
    return parts


def main() -> None:
    """Run as a command."""
    TARGET.write_text(draw())
    print(TARGET)


if __name__ == "__main__":
    main()
