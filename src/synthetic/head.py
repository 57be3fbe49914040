"""Shoulders, neck, head and beard."""

from __future__ import annotations

import numpy as np

from .canvas import HAIR, LIPS, SHADOW, SKIN, Canvas, Color, mix
from .factors import FaceFactors
from .geometry import Placement, Points, ellipse, head_outline, mouth_curves, ribbon, smooth, symmetric


def draw_body(canvas: Canvas, face: FaceFactors, clothes: Color) -> None:
    """Draw shoulders with a collar, and the neck with the chin's shadow. The body tilts a third as much."""
    place = Placement(face.center_x, face.center_y, face.scale, face.tilt / 3)
    skin = skin_color(face)
    right = [(0.34, 1.12), (0.62, 1.26), (1.25, 1.42), (1.62, 1.75), (1.75, 2.4), (1.8, 4.0)]
    canvas.fill(symmetric(smooth(right)), place, clothes)
    canvas.fill(
        symmetric(smooth([(0.36, 0.4), (0.35, 0.95), (0.42, 1.2), (0.3, 1.38), (0.0, 1.47)])),
        place,
        mix(skin, SHADOW, 10),
    )
    canvas.fill(symmetric(smooth([(0.36, 0.7), (0.36, 1.0), (0.2, 1.14), (0.0, 1.19)])), place, SHADOW, 70)
    collar = smooth([(-0.44, 1.2), (-0.3, 1.4), (0.0, 1.5), (0.3, 1.4), (0.44, 1.2)])
    canvas.fill(ribbon(collar, 0.07), place, mix(clothes, SHADOW, 30))


def draw_head(canvas: Canvas, face: FaceFactors) -> None:
    """Draw ears and the face, shaded on the side away from the light, with flushed cheeks."""
    skin = skin_color(face)
    if face.hair_style != "headscarf":
        for side in (-1, 1):
            canvas.fill(ellipse(side * (face.face_width + 0.02), 0.06, 0.12, 0.2), face.place, mix(skin, SHADOW, 8))
            canvas.fill(ellipse(side * (face.face_width + 0.03), 0.06, 0.06, 0.12), face.place, mix(skin, SHADOW, 25))
    outline = head_outline(face.face_width, face.jaw)
    canvas.fill(outline, face.place, skin)
    for depth in (0.10, 0.22):
        canvas.fill(_shaded_side(outline, face, depth), face.place, SHADOW, int(16 + 44 * face.light_strength))
    for side in (-1, 1):
        for radius in (0.17, 0.11):
            canvas.fill(ellipse(side * 0.48, 0.27, radius, 0.8 * radius), face.place, LIPS, 22)


def _shaded_side(outline: Points, face: FaceFactors, depth: float) -> Points:
    """Return the crescent of the head that faces away from the light, as deep as `depth` in its middle."""
    # Twelve points from the middle to either side: half the outline of 48 points, as the crescent has two tips.
    turned = round((face.light_direction - face.tilt + 180.0) * len(outline) / 360.0)
    edge = np.roll(outline, 12 - turned, axis=0)[:25]
    position = np.linspace(-1.0, 1.0, len(edge))[:, None]
    return np.concatenate([edge, (edge * (1.0 - depth * (1.0 - position * position)))[::-1]])


def draw_beard(canvas: Canvas, face: FaceFactors) -> None:
    """Draw stubble, moustache, goatee or full beard; the mouth comes on top."""
    color = mix(HAIR[face.hair_color], SHADOW, 12)
    if face.beard in ("stubble", "full"):
        canvas.fill(_beard_outline(face), face.place, color, 255 if face.beard == "full" else 60)
    if face.beard == "goatee":
        canvas.fill(
            symmetric(smooth([(0.0, 0.74), (0.26, 0.72), (0.3, 0.88), (0.2, 1.05), (0.0, 1.12)])), face.place, color
        )
    if face.beard in ("moustache", "goatee", "full"):
        upper, _ = mouth_curves(face.smile, face.mouth_opening, face.mouth_width)
        middle = upper * (1.12, 1.0) - (0.0, 0.09)
        canvas.fill(ribbon(middle, 0.03 + 0.12 * (1.0 - np.abs(np.linspace(-1, 1, len(middle))))), face.place, color)


def _beard_outline(face: FaceFactors) -> Points:
    jaw = head_outline(face.face_width, face.jaw)[:25] * (1.015, 1.05)
    width = face.face_width
    inner = smooth(
        [
            (-0.93 * width, 0.1),
            (-0.78 * width, 0.32),
            (-0.42, 0.42),
            (0.0, 0.36),
            (0.42, 0.42),
            (0.78 * width, 0.32),
            (0.93 * width, 0.1),
        ]
    )
    return np.concatenate([jaw, inner])


def skin_color(face: FaceFactors) -> Color:
    """Return the color of the skin in even light."""
    return SKIN[face.skin_tone - 1]


def brow_color(face: FaceFactors) -> Color:
    """Return a color darker than the hair that is never lost on the skin."""
    return mix(HAIR[face.hair_color], SHADOW, 45)
