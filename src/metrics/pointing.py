"""The pointing game: does a map of importance lie on the parts of a face that carry its expression?

It needs boxes in the sample table, as synthetic faces have them: `mouth_left`, `mouth_top`, `mouth_right`,
`mouth_bottom` and so on for any other region, as fractions of the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BOX_SIDES = ("_left", "_top", "_right", "_bottom")
MARGIN = 0.03  # of the image's side, about every box: a map has no finer grain


def region_names(columns: Sequence[str]) -> list[str]:
    """The regions of a face that have all four sides of a box among `columns`."""
    regions = [name.removesuffix("_left") for name in columns if name.endswith("_left")]
    return [region for region in regions if all(region + side in columns for side in BOX_SIDES)]


def region_columns(columns: Sequence[str]) -> set[str]:
    """The columns that hold sides of boxes."""
    return {region + side for region in region_names(columns) for side in BOX_SIDES}


def region_mask(row: Mapping[str, float], regions: Sequence[str], size: int) -> NDArray[np.bool_]:
    """Mark the size x size pixels that lie in a box of `row`, each box grown by `MARGIN`."""
    mask = np.zeros((size, size), dtype=bool)
    for region in regions:
        left, top, right, bottom = (float(row[region + side]) for side in BOX_SIDES)
        columns = slice(_pixel(left - MARGIN, size), _pixel(right + MARGIN, size))
        mask[_pixel(top - MARGIN, size) : _pixel(bottom + MARGIN, size), columns] = True
    return mask


def _pixel(fraction: float, size: int) -> int:
    return int(np.clip(round(fraction * size), 0, size))


@dataclass(frozen=True)
class PointingGame:
    """`share` of the map that lies on the boxes, their share of the `area`, and how often the map's peak `hits` them.

    All three are means over images (hits: Zhang et al. 2018, doi 10.1007/s11263-017-1059-x).
    """

    share: float
    area: float
    hits: float

    @property
    def gain(self) -> float:
        """1 for a map that does not care where the boxes are, above 1 for one that lies on them."""
        return self.share / self.area

    def metrics(self, prefix: str) -> dict[str, float]:
        """The numbers under MLflow keys."""
        return {
            f"{prefix}/pointing_share": self.share,
            f"{prefix}/pointing_area": self.area,
            f"{prefix}/pointing_gain": self.gain,
            f"{prefix}/pointing_hits": self.hits,
        }


def pointing_game(maps: NDArray[np.floating], table: pd.DataFrame) -> PointingGame:
    """Play with maps (n, size, size), not negative, and the n rows of boxes that belong to them.

    A map that is 0 everywhere points nowhere: its share is that of an even map, and it hits nothing.
    """
    regions = region_names(list(table.columns))
    size = maps.shape[1]
    masks = np.stack(
        [
            region_mask(row, regions, size)
            for row in ({str(key): value for key, value in row.items()} for row in table.to_dict("records"))
        ]
    )
    flat, inside = maps.reshape(len(maps), -1).astype(np.float64), masks.reshape(len(maps), -1)
    total, area = flat.sum(axis=1), inside.mean(axis=1)
    points = total > 0
    share = np.divide((flat * inside).sum(axis=1), total, out=area.copy(), where=points)
    hits = inside[np.arange(len(flat)), flat.argmax(axis=1)] & points
    return PointingGame(float(share.mean()), float(area.mean()), float(hits.mean()))
