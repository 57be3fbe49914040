"""Self-contained pages and Markdown: thumbnails, histograms, tables and the templates that hold them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from PIL import Image

TEMPLATES = Path(__file__).parent / "templates"
THUMBNAIL = 88


@dataclass(frozen=True)
class Thumbnail:
    """A small image with a caption. `source` is a data URI, or empty where there is nothing to show."""

    source: str
    caption: str
    kind: str = ""
    """A CSS class: the image's own label, `conflict`, `first` or `second`."""


def thumbnail(pixels: NDArray[np.uint8], caption: str, kind: str = "") -> Thumbnail:
    """A JPEG of at most THUMBNAIL pixels a side, inside the page."""
    image = Image.fromarray(np.asarray(pixels))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return Thumbnail(data_uri(buffer.getvalue(), "jpeg"), caption, kind)


def data_uri(image: bytes, kind: str = "png") -> str:
    """An image, the bytes of a file of `kind`, as an address, so that a page needs no other file."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def histogram_paths(values: Sequence[NDArray[np.float64]]) -> list[str]:
    """One SVG path for each array, in a box of 100 x 30: densities on one scale, 1st to 99th percentile."""
    together = np.concatenate(values)
    bins = int(np.clip(np.sqrt(len(together)), 8, 40))
    low, high = np.percentile(together, [1, 99])
    edges = np.linspace(low, max(high, low + 1e-6), bins + 1)
    heights = [np.histogram(np.clip(array, low, high), edges)[0] / max(len(array), 1) for array in values]
    top = max(height.max() for height in heights) or 1.0
    across = np.linspace(0, 100, bins)
    return [
        "M0,30 "
        + " ".join(f"L{x:.1f},{30 - 29 * y / top:.1f}" for x, y in zip(across, height, strict=True))
        + " L100,30 Z"
        for height in heights
    ]


def render(template: str, **content: Any) -> str:
    """Fill a template. In HTML everything that comes from file names or configs is escaped; in Markdown every line of
    the template counts.
    """
    return _environment(Path(template).suffix == ".html").get_template(template).render(**content)


@cache
def _environment(html: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=html,  # noqa: S701 - Markdown is no HTML
        undefined=jinja2.StrictUndefined,
        trim_blocks=html,
    )
    space = "\N{NO-BREAK SPACE}" if html else " "
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}{space}%"
    environment.filters["breakable"] = _breakable
    environment.globals["markdown_table"] = markdown_table
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["number_of"] = lambda value, noun: f"{value:,} {noun}{'' if value == 1 else 's'}"
    return environment


def _breakable(name: str) -> Markup:
    """A name or setting in HTML that may continue on the next line after an underscore or an equals sign."""
    return Markup(re.sub(r"(?<=[_=])", "<wbr>", str(escape(name))))  # noqa: S704 - escaped before


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, with a line break at its end; a bar inside a cell stays one."""
    lines = (header, ["---"] * len(header), *rows)
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def write_page(path: Path, html: str) -> None:
    """Write a page as UTF-8."""
    path.write_text(html, encoding="utf-8")
