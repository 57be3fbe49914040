"""Shoulders, neck, head and beard; eyes, brows, nose, mouth and glasses."""

from __future__ import annotations

import numpy as np

from .canvas import BLACK, EYES, HAIR, LIPS, MOUTH_INSIDE, SHADOW, SKIN, TONGUE, WHITE, Canvas, Color, mix
from .factors import FaceFactors
from .geometry import (
    ALONG,
    ARCH,
    CIRCLE,
    EYE_LEVEL,
    Coordinates,
    Placement,
    Points,
    as_points,
    brow_outline,
    ellipse,
    head_outline,
    lids,
    lips,
    mirrored,
    mouth_corners,
    mouth_curves,
    ribbon,
    ring,
    rounded_rectangle,
    shifted,
    smooth,
    symmetric,
)


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


def draw_eyes(canvas: Canvas, face: FaceFactors) -> None:
    """Draw both eyes: the white, the iris looking where `gaze` says, lashes, lid folds, and the crease of a smiling
    eye.
    """
    iris = EYES[face.eye_color]
    for side in (-1, 1):
        x = side * _eye_distance(face)
        upper, lower = (lid * (side, 1.0) + (x, EYE_LEVEL) for lid in lids(face.eye_expression, face.eye_openness))
        canvas.fill(ribbon(shifted(upper, 0.0, -0.07), 0.025 * ARCH + 0.008), face.place, SHADOW, 60)
        canvas.fill(ribbon(shifted(lower, 0.0, 0.05), 0.03 * ARCH), face.place, SHADOW, 45)
        canvas.fill(np.concatenate([upper, lower[::-1]]), face.place, (246, 244, 240))
        center = np.array([x + 0.05 * face.gaze, EYE_LEVEL - 0.01])
        for radius, color in ((0.098, mix(iris, BLACK, 45)), (0.08, iris), (0.042, (16, 14, 18))):
            canvas.fill(_between_lids(CIRCLE * radius + center, upper, lower), face.place, color)
        canvas.fill(_between_lids(CIRCLE * 0.024 + (center + (-0.03, -0.035)), upper, lower), face.place, WHITE)
        canvas.fill(ribbon(upper, 0.022 + 0.024 * ARCH), face.place, mix(brow_color(face), BLACK, 40))
        canvas.fill(ribbon(lower, 0.016), face.place, SHADOW, 120)


def _eye_distance(face: FaceFactors) -> float:
    """Return the distance from the axis of the face to the middle of an eye."""
    return 0.36 + face.eye_spacing / 2


def _between_lids(outline: Points, upper: Points, lower: Points) -> Points:
    """Return `outline` cut off where the lids cover it."""
    left_to_right = slice(None, None, 1 if upper[0, 0] < upper[-1, 0] else -1)
    x = upper[left_to_right, 0]
    column = np.clip(outline[:, 0], x[0], x[-1])
    top = _interpolated(column, x, upper[left_to_right, 1])
    bottom = _interpolated(column, x, lower[left_to_right, 1])
    return as_points(column, np.clip(outline[:, 1], top, np.maximum(top, bottom)))


def _interpolated(x: Coordinates, knots: Coordinates, values: Coordinates) -> Coordinates:
    """Interpolate linearly on evenly spaced knots, elementwise (`np.interp` is compiled per processor)."""
    position = (x - knots[0]) / (knots[-1] - knots[0]) * (len(knots) - 1)
    piece = np.minimum(position.astype(np.int64), len(knots) - 2)
    between: Coordinates = values[piece] + (position - piece) * (values[piece + 1] - values[piece])
    return between


def draw_brows(canvas: Canvas, face: FaceFactors) -> None:
    """Draw both brows."""
    brow = brow_outline(face.brow_expression, face.brow_lift, face.brow_thickness, face.eye_spacing)
    for outline in (brow, mirrored(brow)):
        canvas.fill(outline, face.place, brow_color(face))


def draw_nose(canvas: Canvas, face: FaceFactors) -> None:
    """Draw the bridge's shaded side (away from the light), the tip and the nostrils."""
    side = -1 if 90 <= face.light_direction < 270 else 1
    bridge = smooth(
        [(-0.07 * side, -0.06), (-0.06 * side, 0.1), (-0.13 * side, 0.24), (-0.03 * side, 0.3), (0.02 * side, 0.22)]
    )
    canvas.fill(bridge, face.place, SHADOW, 50)
    under = smooth([(-0.13, 0.23), (-0.09, 0.3), (0.0, 0.32), (0.09, 0.3), (0.13, 0.23)])
    canvas.fill(ribbon(under, 0.03), face.place, mix(skin_color(face), SHADOW, 45))
    canvas.fill(ellipse(0.04 * side, 0.2, 0.045, 0.04), face.place, WHITE, 45)


def draw_mouth(canvas: Canvas, face: FaceFactors) -> None:
    """Draw the lips, and the inside of an open mouth with tongue and teeth or the line of a closed one."""
    upper, lower = mouth_curves(face.smile, face.mouth_opening, face.mouth_width)
    above, below = lips(upper, lower, face.lip_fullness)
    skin = skin_color(face)
    canvas.fill(np.concatenate([above, lower[::-1]]), face.place, mix(mix(skin, LIPS, 48), SHADOW, 14))
    canvas.fill(np.concatenate([upper, below[::-1]]), face.place, mix(skin, LIPS, 48))
    if face.mouth_opening:
        _draw_open_mouth(canvas, face, upper, lower)
    else:
        canvas.fill(ribbon(upper, 0.02 + 0.02 * ARCH), face.place, mix(skin, MOUTH_INSIDE, 80))
    for corner in mouth_corners(upper):
        canvas.fill(corner, face.place, mix(skin, MOUTH_INSIDE, 70))


def _draw_open_mouth(canvas: Canvas, face: FaceFactors, upper: Points, lower: Points) -> None:
    gap = lower - upper
    canvas.fill(np.concatenate([upper, lower[::-1]]), face.place, MOUTH_INSIDE)
    tongue = lower - 0.45 * gap * np.maximum(0.0, 1.0 - 2 * ALONG * ALONG)[:, None]
    canvas.fill(np.concatenate([tongue, lower[::-1]]), face.place, TONGUE)
    if face.teeth:
        canvas.fill(np.concatenate([upper, (upper + gap * 0.42)[::-1]]), face.place, (248, 246, 240))


def draw_glasses(canvas: Canvas, face: FaceFactors) -> None:
    """Draw lenses with a glint, their frames, the bridge and the temples."""
    if face.glasses == "none":
        return
    frame = (40, 36, 44) if face.glasses != "tinted" else (168, 132, 62)
    for side in (-1, 1):
        x = side * (_eye_distance(face) + 0.01)
        outer, inner = (_lens(face.glasses, x, inset) for inset in (0.0, 0.045))
        canvas.fill(inner, face.place, *(((96, 62, 30), 90) if face.glasses == "tinted" else (WHITE, 28)))
        glint = np.array([(x - 0.14, 0.06), (x + 0.04, -0.2), (x + 0.1, -0.2), (x - 0.08, 0.06)])
        canvas.fill(glint, face.place, WHITE, 46)
        canvas.fill(ring(outer, inner), face.place, frame)
        temple = np.array([(x + side * 0.24, EYE_LEVEL - 0.06), (side * (face.face_width + 0.03), EYE_LEVEL - 0.03)])
        canvas.fill(ribbon(temple, 0.05), face.place, frame)
    reach = _eye_distance(face) - 0.24
    bridge = smooth([(-reach, EYE_LEVEL - 0.02), (0.0, EYE_LEVEL - 0.07), (reach, EYE_LEVEL - 0.02)])
    canvas.fill(ribbon(bridge, 0.05), face.place, frame)


def _lens(shape: str, x: float, inset: float) -> Points:
    if shape == "square":
        return rounded_rectangle(x, EYE_LEVEL + 0.03, 0.27 - inset, 0.21 - inset)
    if shape == "round":
        return ellipse(x, EYE_LEVEL + 0.01, 0.26 - inset, 0.26 - inset)
    return ellipse(x, EYE_LEVEL + 0.03, 0.28 - inset, 0.24 - inset)
