"""A supersampled picture that outlines are filled on, the same to the bit on every machine."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from src.data.faces.geometry import Coordinates, Placement, Points, as_points
from src.data.faces.palette import Color

# The side of the picture that is drawn on, unless twice the wanted size is more; 768 is three times the usual 256.
_DRAWING_SIDE = 768


class Canvas:
    """A square picture of `size` pixels to be filled outline by outline, drawn larger and then averaged down."""

    def __init__(self, size: int, background: Color) -> None:
        self._factor = max(2, -(-_DRAWING_SIDE // size))
        self._side = size * self._factor
        self._image = Image.new("RGB", (self._side, self._side), background)
        self._opaque = ImageDraw.Draw(self._image)
        self._blending = ImageDraw.Draw(self._image, "RGBA")

    def fill(self, outline: Points, place: Placement, color: Color, alpha: int = 255) -> None:
        """Fill `outline`, put where `place` says, with `color`; `alpha` is its opacity, 0 to 255."""
        vertices = lattice_vertices(place(outline) * self._side)
        if alpha == 255:
            self._opaque.polygon(vertices, fill=color)
        else:
            self._blending.polygon(vertices, fill=(*color, alpha))

    def picture(self) -> Image.Image:
        """The picture at its wanted size."""
        return self._image.reduce(self._factor)


def lattice_vertices(outline: Points) -> list[int]:
    """`outline` (pixels) as integers x0, y0, x1, y1, ... for Pillow, its rows alternately even and odd.

    Pillow finds where an edge crosses a row in float32, and a crossing halfway between two pixels may be rounded either
    way, depending on whether the compiler fused a multiplication with an addition. An edge that spans an odd number of
    rows has no such crossing, so every edge is made to: the picture is then the same whatever the processor.
    """
    if len(outline) % 2:
        outline = np.concatenate([outline, outline[-1:]])
    odd = np.arange(len(outline)) % 2
    rows: Coordinates = 2 * np.rint((outline[:, 1] - odd) / 2) + odd
    vertices: list[int] = as_points(np.rint(outline[:, 0]), rows).astype(np.int32).ravel().tolist()
    return vertices
