"""Synthetic faces: happy and sad, varied by independent factors, the same on every machine.

Face `index` of a set depends on the set's seed and its own index alone, so that a larger set begins with the faces of
a smaller one. What stands for an expression is the mouth, the brows and the eyes; all else is sampled without regard
to the label (see `FaceFactors`). A model that is trained on synthetic faces reads synthetic faces.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .canvas import CLOTHES, SHADOW, SKIN, WHITE, Canvas, Color, hue_color, mix
from .factors import DETAILS_STREAM, FaceFactors, sample_factors, stream
from .features import draw_beard, draw_body, draw_brows, draw_eyes, draw_glasses, draw_head, draw_mouth, draw_nose
from .geometry import Placement, Points, ellipse, ribbon, ring, rounded_rectangle
from .hair import draw_back_hair, draw_front_hair

__all__ = ["FaceFactors", "draw_face", "sample_factors"]


def draw_face(seed: int, index: int, size: int = 256, ambiguity: float = 0.0) -> tuple[NDArray[np.uint8], FaceFactors]:
    """Draw face `index` of the set named by `seed`.

    Returns the image, shape (size, size, 3), and the factors that were sampled for it. `size` is 16 to 1024 pixels;
    `ambiguity` moves the two classes closer, from 0 (apart) to 1 (the same).
    """
    face = sample_factors(seed, index, ambiguity)
    details = stream(seed, index, DETAILS_STREAM)
    canvas = Canvas(size, hue_color(face.background_hue, int(100 * face.background_lightness)))
    _draw_background(canvas, face, details)
    draw_back_hair(canvas, face)
    draw_body(canvas, face, CLOTHES[int(details.integers(len(CLOTHES)))])
    draw_head(canvas, face)
    draw_nose(canvas, face)
    draw_beard(canvas, face)
    draw_mouth(canvas, face)
    draw_eyes(canvas, face)
    draw_brows(canvas, face)
    draw_front_hair(canvas, face)
    draw_glasses(canvas, face)
    _draw_occluder(canvas, face, details)
    return _photographed(canvas.image(), face, details), face


def _draw_background(canvas: Canvas, face: FaceFactors, details: np.random.Generator) -> None:
    """Draw a floor line or none, and `face.clutter` things of five kinds in colors near the background's."""
    lightness = int(100 * face.background_lightness)
    for _ in range(face.clutter):
        x, y, size, turn, hue, depth, kind, opacity = (int(value) for value in details.integers(0, 1000, size=8))
        place = Placement(x / 1000, y / 1000, 0.05 + size / 6000, turn * 0.36)
        color = hue_color(face.background_hue + (hue - 500) // 6, (lightness + 20 + depth // 17) % 101)
        canvas.fill(_things(kind), place, color, 120 + opacity // 8)


def _things(kind: int) -> Points:
    """Return one of five outlines within the unit circle."""
    outlines = (
        ellipse(0.0, 0.0, 1.0, 1.0),
        ring(ellipse(0.0, 0.0, 1.0, 1.0), ellipse(0.0, 0.0, 0.7, 0.7)),
        rounded_rectangle(0.0, 0.0, 0.9, 0.6),
        np.array([(-0.9, 0.7), (0.9, 0.7), (0.0, -0.9), (0.0, -0.9)]),
        np.array([(-4.0, -0.2), (4.0, -0.2), (4.0, 0.2), (-4.0, 0.2)]),
    )
    return outlines[kind % len(outlines)]


def _draw_occluder(canvas: Canvas, face: FaceFactors, details: np.random.Generator) -> None:
    """Draw a ball, a card or a hand that hides some of the face."""
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
    """Draw a fist seen from the back of the fingers, the arm leading away from the face."""
    canvas.fill(np.array([(-0.6, 0.3), (0.6, 0.3), (0.75, 6.0), (-0.75, 6.0)]), place, mix(skin, SHADOW, 14))
    for finger in range(4):
        x = -0.72 + 0.48 * finger
        canvas.fill(rounded_rectangle(x, -0.1, 0.27, 0.75), place, mix(skin, SHADOW, 32))
        canvas.fill(rounded_rectangle(x, -0.12, 0.23, 0.7), place, mix(skin, WHITE, 4))


def _photographed(image: Image.Image, face: FaceFactors, details: np.random.Generator) -> NDArray[np.uint8]:
    """Return the image as a camera would see it: blurred, lit from one side and noisy, in integer arithmetic."""
    # Quarters of a pixel: Pillow's fixed-point weights are then exact. Twice a box is nearly a Gaussian.
    radius = round(face.blur * image.width * 4) / 4
    if radius:
        image = image.filter(ImageFilter.BoxBlur(radius)).filter(ImageFilter.BoxBlur(radius))
    gain = _gain(face, image.width)[:, :, None]
    lit = (np.multiply(np.asarray(image), gain, dtype=np.int32) >> 12).astype(np.int16)
    if face.noise:
        lit += _noise(lit.shape, face.noise, details)
    return np.asarray(lit.clip(0, 255), dtype=np.uint8)


def _gain(face: FaceFactors, size: int) -> NDArray[np.int32]:
    """Return the brightness of each pixel, (size, size), in 1/4096: exposure, and fall-off away from the light."""
    direction = math.radians(face.light_direction)
    fall_off = 0.3 * face.light_strength
    across, down = (round(4096 * fall_off * round(slope, 6)) for slope in (math.cos(direction), math.sin(direction)))
    ramp = 2 * np.arange(size, dtype=np.int32) + 1 - size
    return round(4096 * face.exposure) + (across * ramp[None, :] + down * ramp[:, None]) // size


def _noise(shape: tuple[int, ...], amplitude: float, details: np.random.Generator) -> NDArray[np.int16]:
    """Return noise of a triangular distribution within +-`amplitude` gray levels."""
    draws = details.integers(0, 256, size=(2, *shape), dtype=np.uint8).astype(np.int16)
    noise: NDArray[np.int16] = (draws[0] + draws[1] - 255) * round(amplitude * 4) >> 10
    return noise
