"""The colors of faces, clothes and backgrounds, and the canvas that is filled with them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from .geometry import Coordinates, Placement, Points, as_points

Color = tuple[int, int, int]

WHITE: Color = (255, 255, 255)
BLACK: Color = (0, 0, 0)
SHADOW: Color = (38, 18, 40)

# From light to dark, in the ten steps of the Monk Skin Tone scale, slightly warmer so that flat areas look alive.
SKIN: tuple[Color, ...] = (
    (250, 226, 209),
    (246, 215, 190),
    (241, 204, 168),
    (229, 184, 143),
    (213, 163, 118),
    (184, 131, 91),
    (152, 103, 70),
    (122, 80, 55),
    (95, 62, 46),
    (72, 47, 38),
)
HAIR: dict[str, Color] = {
    "black": (35, 31, 36),
    "brown": (84, 55, 38),
    "auburn": (122, 62, 40),
    "blond": (221, 180, 104),
    "gray": (173, 171, 174),
    "red": (190, 92, 44),
    "dyed": (116, 96, 190),
}
EYES: dict[str, Color] = {
    "brown": (92, 58, 35),
    "hazel": (134, 104, 52),
    "green": (78, 128, 88),
    "blue": (70, 125, 178),
    "gray": (116, 130, 142),
}
CLOTHES: tuple[Color, ...] = (
    (45, 64, 89),
    (234, 84, 85),
    (240, 123, 63),
    (255, 212, 96),
    (72, 149, 120),
    (92, 107, 192),
    (240, 240, 236),
    (53, 56, 62),
    (196, 113, 158),
    (84, 172, 196),
)
LIPS: Color = (186, 62, 72)
MOUTH_INSIDE: Color = (92, 22, 34)
TONGUE: Color = (214, 98, 104)


def mix(color: Color, other: Color, percent: int) -> Color:
    """Return `color` with `percent` of `other` mixed in."""
    red, green, blue = ((a * (100 - percent) + b * percent) // 100 for a, b in zip(color, other, strict=True))
    return red, green, blue


def hue_color(degrees: int, lightness: int) -> Color:
    """Return a muted color of the given hue; `lightness` goes from 0 to 100."""
    sector, rise = divmod(degrees % 360 * 256 // 60, 256)
    fall = 255 - rise
    pure = ((255, rise, 0), (fall, 255, 0), (0, 255, rise), (0, fall, 255), (rise, 0, 255), (255, 0, fall))[sector]
    muted = mix(pure, (150, 150, 150), 55)
    return mix(mix(muted, BLACK, 55), mix(muted, WHITE, 65), lightness)


# The side of the image that is drawn on, unless twice the wanted size is more; 768 is three times the usual 256.
_DRAWING_SIDE = 768


class Canvas:
    """A square image of `size` pixels to be filled outline by outline, drawn larger and then averaged down."""

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

    def image(self) -> Image.Image:
        """Return the image at its wanted size."""
        return self._image.reduce(self._factor)


def lattice_vertices(outline: Points) -> list[int]:
    """Return `outline` (pixels) as integers x0, y0, x1, y1, ... for Pillow, its rows alternately even and odd.

    Pillow finds where an edge crosses a row in float32, and a crossing halfway between two pixels may be rounded either
    way, depending on whether the compiler fused a multiplication with an addition. An edge that spans an odd number of
    rows has no such crossing, so every edge is made to: the image is then the same whatever the processor.
    """
    if len(outline) % 2:
        outline = np.concatenate([outline, outline[-1:]])
    odd = np.arange(len(outline)) % 2
    rows: Coordinates = 2 * np.rint((outline[:, 1] - odd) / 2) + odd
    vertices: list[int] = as_points(np.rint(outline[:, 0]), rows).astype(np.int32).ravel().tolist()
    return vertices
