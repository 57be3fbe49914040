"""Faces drawn by the program as a source."""

from __future__ import annotations

from ...config import SourceConfig
from ..locators import DrawnLocator
from ..samples import Sample
from .listing import Listing


def list_drawn(config: SourceConfig) -> Listing:
    """`drawn.count` faces, happy and sad in turn as `draw_face` has them."""
    drawn = config.drawn
    return Listing(
        [
            Sample(f"{index:06d}", 1 - index % 2, DrawnLocator(drawn.seed, index, drawn.ambiguity))
            for index in range(drawn.count)
        ]
    )
