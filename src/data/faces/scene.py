"""What stands behind and before the face."""

from __future__ import annotations

import numpy as np

from src.data.faces.canvas import Canvas
from src.data.faces.factors import FaceFactors
from src.data.faces.geometry import Placement, Points, ellipse, ribbon, ring, rounded_rectangle
from src.data.faces.palette import CLOTHES, SHADOW, SKIN, WHITE, Color, hue_color, mix

_PICTURE = Placement(0.0, 0.0, 1.0)


def background_color(face: FaceFactors) -> Color:
    """The plain colour behind everything."""
    return hue_color(face.background_hue, int(100 * face.background_lightness))


def draw_background(canvas: Canvas, face: FaceFactors, details: np.random.Generator) -> None:
    """A floor line or none, and `face.clutter` things of five kinds in colours near the background's."""
    lightness = int(100 * face.background_lightness)
    for _ in range(face.clutter):
        x, y, size, turn, hue, depth, kind, opacity = (int(lot) for lot in details.integers(0, 1000, size=8))
        place = Placement(x / 1000, y / 1000, 0.05 + size / 6000, turn * 0.36)
        color = hue_color(face.background_hue + (hue - 500) // 6, (lightness + 20 + depth // 17) % 101)
        canvas.fill(_things(kind), place, color, 120 + opacity // 8)


def _things(kind: int) -> Points:
    """One of five outlines within the unit circle."""
    outlines = (
        ellipse(0.0, 0.0, 1.0, 1.0),
        ring(ellipse(0.0, 0.0, 1.0, 1.0), ellipse(0.0, 0.0, 0.7, 0.7)),
        rounded_rectangle(0.0, 0.0, 0.9, 0.6),
        np.array([(-0.9, 0.7), (0.9, 0.7), (0.0, -0.9), (0.0, -0.9)]),
        np.array([(-4.0, -0.2), (4.0, -0.2), (4.0, 0.2), (-4.0, 0.2)]),
    )
    return outlines[kind % len(outlines)]


def draw_occluder(canvas: Canvas, face: FaceFactors, details: np.random.Generator) -> None:
    """A ball, a card or a hand before a part of the face."""
    if face.occluder == "none":
        return
    radius = face.occluder_size
    direction = Placement(0.0, 0.0, 1.0, face.occluder_direction)
    x, y = direction(np.array([[1.12 - 0.8 * radius, 0.0]]))[0]
    center = face.place(np.array([[x, y]]))[0]
    turn = face.occluder_direction - 90.0
    place = Placement(float(center[0]), float(center[1]), face.scale * radius, turn)
    if face.occluder == "hand":
        _draw_hand(canvas, place, SKIN[face.skin_tone - 1])
    else:
        color = CLOTHES[int(details.integers(len(CLOTHES)))]
        (_draw_ball if face.occluder == "ball" else _draw_card)(canvas, place, color)


def _draw_ball(canvas: Canvas, place: Placement, color: Color) -> None:
    canvas.fill(ellipse(0.0, 0.0, 1.0, 1.0), place, mix(color, SHADOW, 25))
    canvas.fill(ellipse(-0.06, -0.08, 0.88, 0.86), place, color)
    canvas.fill(ellipse(-0.35, -0.4, 0.25, 0.2), place, WHITE, 110)


def _draw_card(canvas: Canvas, place: Placement, color: Color) -> None:
    canvas.fill(rounded_rectangle(0.0, 0.0, 1.15, 0.85), place, mix(color, SHADOW, 30))
    canvas.fill(rounded_rectangle(0.0, 0.0, 1.06, 0.76), place, color)
    for row in (-0.3, 0.0, 0.3):
        canvas.fill(ribbon(np.array([(-0.7, row), (0.6 - row, row)]), 0.1), place, SHADOW, 70)


def _draw_hand(canvas: Canvas, place: Placement, skin: Color) -> None:
    """A fist seen from the back of the fingers, the arm leading away from the face."""
    canvas.fill(np.array([(-0.6, 0.3), (0.6, 0.3), (0.75, 6.0), (-0.75, 6.0)]), place, mix(skin, SHADOW, 14))
    for finger in range(4):
        x = -0.72 + 0.48 * finger
        canvas.fill(rounded_rectangle(x, -0.1, 0.27, 0.75), place, mix(skin, SHADOW, 32))
        canvas.fill(rounded_rectangle(x, -0.12, 0.23, 0.7), place, mix(skin, WHITE, 4))
