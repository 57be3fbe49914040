"""Faces drawn by the program: happy and sad, varied by independent factors, the same on every machine.

Face `index` of a set depends on the set's seed and its own index alone, so that a larger set begins with the faces of
a smaller one. What stands for an expression is the mouth, the brows and the eyes; all else is drawn by lot without
regard to the label (see `FaceFactors`). A model that is trained on these drawings reads drawings.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from src.data.faces.canvas import Canvas
from src.data.faces.factors import DETAILS_STREAM, FaceFactors, sample_factors, stream
from src.data.faces.features import draw_brows, draw_eyes, draw_glasses, draw_mouth, draw_nose
from src.data.faces.hair import draw_back_hair, draw_front_hair
from src.data.faces.head import draw_beard, draw_body, draw_head
from src.data.faces.palette import CLOTHES
from src.data.faces.scene import background_color, draw_background, draw_occluder

__all__ = ["FaceFactors", "draw_face", "sample_factors"]


def draw_face(seed: int, index: int, size: int = 256, ambiguity: float = 0.0) -> tuple[NDArray[np.uint8], FaceFactors]:
    """Draw face `index` of the set named by `seed`.

    Returns the picture, shape (size, size, 3), and what was drawn by lot for it. `size` is 16 to 1024 pixels;
    `ambiguity` moves the two classes closer, from 0 (apart) to 1 (the same).
    """
    face = sample_factors(seed, index, ambiguity)
    details = stream(seed, index, DETAILS_STREAM)
    canvas = Canvas(size, background_color(face))
    draw_background(canvas, face, details)
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
    draw_occluder(canvas, face, details)
    return _photographed(canvas.picture(), face, details), face


def _photographed(picture: Image.Image, face: FaceFactors, details: np.random.Generator) -> NDArray[np.uint8]:
    """The picture as a camera would see it: blurred, lit from one side and noisy, in integer arithmetic."""
    # Quarters of a pixel: Pillow's fixed-point weights are then exact. Twice a box is nearly a Gaussian.
    radius = round(face.blur * picture.width * 4) / 4
    if radius:
        picture = picture.filter(ImageFilter.BoxBlur(radius)).filter(ImageFilter.BoxBlur(radius))
    gain = _gain(face, picture.width)[:, :, None]
    lit = (np.multiply(np.asarray(picture), gain, dtype=np.int32) >> 12).astype(np.int16)
    if face.noise:
        lit += _noise(lit.shape, face.noise, details)
    return np.asarray(lit.clip(0, 255), dtype=np.uint8)


def _gain(face: FaceFactors, size: int) -> NDArray[np.int32]:
    """How bright each pixel is lit, shape (size, size), in 1/4096: the exposure, and a fall-off away from the light."""
    direction = math.radians(face.light_direction)
    fall_off = 0.3 * face.light_strength
    across, down = (round(4096 * fall_off * round(part, 6)) for part in (math.cos(direction), math.sin(direction)))
    ramp = 2 * np.arange(size, dtype=np.int32) + 1 - size
    return round(4096 * face.exposure) + (across * ramp[None, :] + down * ramp[:, None]) // size


def _noise(shape: tuple[int, ...], amplitude: float, details: np.random.Generator) -> NDArray[np.int16]:
    """Noise of a triangular distribution within +-`amplitude` grey levels."""
    lots = details.integers(0, 256, size=(2, *shape), dtype=np.uint8).astype(np.int16)
    noise: NDArray[np.int16] = (lots[0] + lots[1] - 255) * round(amplitude * 4) >> 10
    return noise
