"""Hair and headwear, behind the head and over the forehead."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .canvas import HAIR, SHADOW, WHITE, Canvas, Color, mix
from .factors import FaceFactors
from .geometry import (
    Coordinates,
    Points,
    as_points,
    ellipse,
    head_outline,
    mirrored,
    ribbon,
    ring,
    shifted,
    smooth,
    symmetric,
)


def draw_back_hair(canvas: Canvas, face: FaceFactors) -> None:
    """Draw the hair or headwear behind the head."""
    style, width, dark = face.hair_style, face.face_width, mix(HAIR[face.hair_color], SHADOW, 25)
    if style in _HANGING:
        beside, x, y = (np.array(column) for column in zip(*_HANGING[style], strict=True))
        color = mix(_headwear_color(face), SHADOW, 22) if style == "headscarf" else dark
        canvas.fill(symmetric(smooth(as_points(x + beside * width, y))), face.place, color)
    elif style == "bun":
        canvas.fill(ellipse(0.1 * face.parting, -1.24, 0.3, 0.27), face.place, dark)
    elif style == "curly":
        for x, y in head_outline(width + 0.1, 0.5)[26:48:3] * (1.0, 1.04):
            canvas.fill(ellipse(x, y, 0.3, 0.3), face.place, dark)


# What hangs behind the head, its right half from the crown down: x counts from the side of the face (1) or from its
# middle (0), then x and y.
_HANGING: dict[str, tuple[tuple[int, float, float], ...]] = {
    "long": (
        *((0, 0.0, -1.16), (0, 0.66, -1.0), (1, 0.2, -0.3), (1, 0.24, 0.5)),
        *((1, 0.3, 1.5), (0, 0.5, 1.62), (0, 0.0, 1.6)),
    ),
    "bob": (
        *((0, 0.0, -1.16), (0, 0.66, -1.0), (1, 0.2, -0.3), (1, 0.24, 0.4)),
        *((1, 0.12, 0.85), (0, 0.4, 0.9), (0, 0.0, 0.9)),
    ),
    "headscarf": (
        *((0, 0.0, -1.14), (0, 0.7, -0.92), (1, 0.22, -0.2), (1, 0.2, 0.5)),
        *((1, 0.28, 1.2), (0, 0.8, 1.7), (0, 0.0, 1.8)),
    ),
}


def draw_front_hair(canvas: Canvas, face: FaceFactors) -> None:
    """Draw the hair or headwear over the forehead, with a shadow under it and a shine."""
    style = face.hair_style
    if style == "bald":
        canvas.fill(ellipse(-0.25 * face.parting, -0.76, 0.17, 0.09), face.place, WHITE, 45)
    elif style == "headscarf":
        _draw_headscarf(canvas, face)
    elif style == "beanie":
        _draw_beanie(canvas, face)
    else:
        _draw_hair(canvas, face)


def _draw_hair(canvas: Canvas, face: FaceFactors) -> None:
    color = HAIR[face.hair_color]
    hairline = smooth(_HAIRLINES[face.hair_style] * (face.face_width, 1.0), steps=4) * (face.parting, 1.0)
    canvas.fill(ribbon(shifted(hairline[4:-4], 0.0, 0.03), 0.08), face.place, SHADOW, 45)
    outer = _HAIR_OUTLINES.get(face.hair_style, _plain_hair)(face)
    cap = np.concatenate([outer, hairline if face.parting == 1 else hairline[::-1]])
    canvas.fill(cap, face.place, color, 175 if face.hair_style == "buzz" else 255)
    if face.hair_style not in ("buzz", "curly", "spiky"):
        shine = smooth([(-0.5, -0.8), (-0.15, -0.93), (0.25, -0.92)]) * (face.parting * face.face_width / 0.8, 1.0)
        canvas.fill(ribbon(shine, 0.09 * _tapered(len(shine))), face.place, WHITE, 38)


# From the left temple to the right one over the forehead, for hair swept to the right: positions in half widths of the
# face, then heights.
_HAIRLINES: dict[str, Points] = {
    name: np.array(line).T
    for name, line in {
        "buzz": (
            (-0.99, -0.9, -0.82, -0.45, 0.45, 0.82, 0.9, 0.99),
            (-0.06, -0.3, -0.56, -0.72, -0.72, -0.56, -0.3, -0.06),
        ),
        "short": (
            (-1.0, -0.88, -0.8, -0.3, 0.35, 0.82, 0.88, 1.0),
            (0.02, -0.3, -0.6, -0.66, -0.74, -0.58, -0.3, 0.02),
        ),
        "side": (
            (-1.0, -0.88, -0.72, -0.52, 0.1, 0.8, 0.9, 1.0),
            (0.04, -0.3, -0.66, -0.86, -0.62, -0.5, -0.3, 0.04),
        ),
        "bangs": (
            (-1.0, -0.9, -0.86, -0.4, 0.4, 0.86, 0.9, 1.0),
            (0.1, -0.25, -0.5, -0.54, -0.56, -0.5, -0.25, 0.1),
        ),
        "bob": (
            (-1.02, -0.9, -0.84, -0.45, 0.3, 0.84, 0.9, 1.02),
            (0.5, 0.0, -0.46, -0.56, -0.6, -0.48, 0.0, 0.5),
        ),
        "long": (
            (-1.04, -0.92, -0.8, -0.2, 0.3, 0.82, 0.92, 1.04),
            (0.8, 0.1, -0.4, -0.84, -0.74, -0.35, 0.1, 0.8),
        ),
        "curly": (
            (-1.0, -0.84, -0.86, -0.4, 0.3, 0.86, 0.84, 1.0),
            (0.0, -0.34, -0.56, -0.62, -0.68, -0.56, -0.34, 0.0),
        ),
        "bun": (
            (-1.0, -0.9, -0.7, -0.25, 0.25, 0.7, 0.9, 1.0),
            (-0.05, -0.4, -0.68, -0.8, -0.8, -0.68, -0.4, -0.05),
        ),
        "spiky": (
            (-1.0, -0.88, -0.66, -0.5, 0.0, 0.5, 0.88, 1.0),
            (0.0, -0.4, -0.6, -0.74, -0.6, -0.76, -0.4, 0.0),
        ),
    }.items()
}


def _plain_hair(face: FaceFactors) -> Points:
    """Return the outside of the hair, from the right end of the hairline over the crown to its left end."""
    volume = {"buzz": 0.015, "bun": 0.04, "short": 0.07}.get(face.hair_style, 0.11)
    arc = head_outline(face.face_width + 0.5 * volume, face.jaw)[25:48] * (1.0, 1.0 + volume)
    return _between_temples(arc[::-1], face)


def _between_temples(arc: Points, face: FaceFactors) -> Points:
    x, y = _HAIRLINES[face.hair_style][-1]
    temple = np.array([[x * face.face_width + 0.03, y]])
    return np.concatenate([temple, arc, mirrored(temple)])


def _spiky_hair(face: FaceFactors) -> Points:
    arc = head_outline(face.face_width + 0.02, face.jaw)[26:47]
    spikes = np.where(np.arange(len(arc)) % 4 == 2, 1.28, np.where(np.arange(len(arc)) % 2 == 1, 1.12, 1.04))[:, None]
    return _between_temples((arc * spikes)[::-1], face)


def _curly_hair(face: FaceFactors) -> Points:
    arc = head_outline(face.face_width + 0.1, face.jaw)[25:48]
    waves = np.where(np.arange(len(arc)) % 4 < 2, 1.2, 1.12)[:, None]
    return _between_temples(smooth((arc * waves)[::-1], steps=3), face)


_HAIR_OUTLINES: dict[str, Callable[[FaceFactors], Points]] = {"spiky": _spiky_hair, "curly": _curly_hair}


def _draw_headscarf(canvas: Canvas, face: FaceFactors) -> None:
    """Draw a scarf around the face: a frame that leaves free the face from the forehead to under the chin."""
    color, width = _headwear_color(face), face.face_width
    opening = symmetric(
        smooth(
            [
                (0.0, -0.66),
                (0.5 * width, -0.6),
                (0.87 * width, -0.25),
                (0.9 * width, 0.3),
                (0.6 * width, 0.84),
                (0.0, 1.02),
            ]
        )
    )
    frame = opening * (1.32, 1.0)
    frame[:, 1] = np.where(frame[:, 1] < 0, frame[:, 1] * 1.72, frame[:, 1] * 1.5)
    canvas.fill(ring(frame, opening), face.place, color)
    for reach in (0.72, 0.9):
        fold = smooth([(-face.parting * reach, 0.5), (-face.parting * 0.35, 1.2), (face.parting * 0.4, 1.25)])
        canvas.fill(ribbon(fold, 0.05 * _tapered(len(fold))), face.place, SHADOW, 60)


def _draw_beanie(canvas: Canvas, face: FaceFactors) -> None:
    color, width = _headwear_color(face), face.face_width
    hat = symmetric(smooth([(0.0, -1.3), (0.45, -1.22), (width * 0.98, -0.86), (width * 1.06, -0.52), (0.0, -0.56)]))
    canvas.fill(hat, face.place, color)
    band = smooth([(-1.04 * width, -0.5), (-0.5, -0.64), (0.0, -0.68), (0.5, -0.64), (1.04 * width, -0.5)])
    canvas.fill(ribbon(band, 0.24), face.place, mix(color, WHITE, 18))
    for x in np.linspace(-0.8, 0.8, 9):
        rib = np.array([(x * width, -0.78 + 0.12 * x * x), (x * width, -0.5 + 0.08 * x * x)])
        canvas.fill(ribbon(rib, 0.03), face.place, SHADOW, 45)
    canvas.fill(ellipse(0.0, -1.34, 0.17, 0.16), face.place, mix(color, WHITE, 40))


def _headwear_color(face: FaceFactors) -> Color:
    """Return a vivid color that follows from the sampled color of the hair."""
    return mix(HAIR[face.hair_color], (66, 134, 166), 55)


def _tapered(count: int) -> Coordinates:
    """Return the widths of a stroke that is thickest (1) in its middle and ends in points."""
    position = np.linspace(-1.0, 1.0, count)
    return 1.0 - position * position
