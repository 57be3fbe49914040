"""The colours of faces, clothes and backgrounds."""

from __future__ import annotations

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
    "grey": (173, 171, 174),
    "red": (190, 92, 44),
    "dyed": (116, 96, 190),
}
EYES: dict[str, Color] = {
    "brown": (92, 58, 35),
    "hazel": (134, 104, 52),
    "green": (78, 128, 88),
    "blue": (70, 125, 178),
    "grey": (116, 130, 142),
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
    """`color` with `percent` of `other` mixed in."""
    red, green, blue = ((a * (100 - percent) + b * percent) // 100 for a, b in zip(color, other, strict=True))
    return red, green, blue


def hue_color(degrees: int, lightness: int) -> Color:
    """A muted colour of the given hue; `lightness` goes from 0 to 100."""
    sector, rise = divmod(degrees % 360 * 256 // 60, 256)
    fall = 255 - rise
    pure = ((255, rise, 0), (fall, 255, 0), (0, 255, rise), (0, fall, 255), (rise, 0, 255), (255, 0, fall))[sector]
    muted = mix(pure, (150, 150, 150), 55)
    return mix(mix(muted, BLACK, 55), mix(muted, WHITE, 65), lightness)
