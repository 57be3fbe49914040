"""Self-contained HTML pages: thumbnails, histograms and the templates that hold them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

TEMPLATES = Path(__file__).parent / "templates"
THUMBNAIL = 88


@dataclass(frozen=True)
class Thumbnail:
    """A small picture with a caption. `source` is a data URI, or empty where there is nothing to show."""

    source: str
    caption: str
    kind: str = ""
    """A CSS class: the picture's own label, `conflict`, `first` or `second`."""


def thumbnail(pixels: NDArray[np.uint8], caption: str, kind: str = "") -> Thumbnail:
    """A JPEG of at most THUMBNAIL pixels a side, inside the page."""
    image = Image.fromarray(np.asarray(pixels))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", caption, kind)


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
    """Fill a template; everything that comes from file names or configs is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.1f} %"
    environment.filters["number"] = lambda value: f"{value:,}"
    return environment.get_template(template).render(**content)


def write_page(path: Path, html: str) -> None:
    """Write a page as UTF-8."""
    path.write_text(html, encoding="utf-8")
