"""What two pictures are compared by: perceptual hashes, and a few plain statistics of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

_THUMBNAIL, _FREQUENCIES = 32, 8
_GREY_SATURATION = 8.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of one picture's pixels, 0 to 255: means, and for contrast and sharpness the standard deviation of the luma and
    of its Laplacian. `colour` is "grey" where the channels hardly differ.

    A model that does well on these alone has learnt the light or the camera, not the face.
    """

    brightness: float
    contrast: float
    saturation: float
    sharpness: float
    red: float
    green: float
    blue: float
    colour: str


def perceptual_hashes(pictures: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """PHash and dHash of pictures of shape (size, size, 3): 64 bits each, uint64 (n,).

    pHash: the signs of the 8x8 lowest frequencies of a 32x32 grey thumbnail about their median (Zauner 2010,
    "Implementation and benchmarking of perceptual image hash functions"). dHash: whether a pixel of a 9x8 thumbnail
    is brighter than its left neighbour.
    """
    greys = [Image.fromarray(picture).convert("L") for picture in pictures]
    thumbnails = np.stack([_shrunk(grey, _THUMBNAIL, _THUMBNAIL) for grey in greys])
    frequencies = dctn(thumbnails, axes=(1, 2))[:, :_FREQUENCIES, :_FREQUENCIES].reshape(len(greys), -1)
    signs = frequencies > np.median(frequencies, axis=1, keepdims=True)
    steps = np.stack([np.diff(_shrunk(grey, 9, 8), axis=1) > 0 for grey in greys]).reshape(len(greys), -1)
    return _packed(signs), _packed(steps)


def statistics(picture: NDArray[np.uint8]) -> Statistics:
    """Brightness, contrast, saturation, sharpness and mean colour of one picture (size, size, 3)."""
    image = Image.fromarray(picture)
    grey = np.asarray(image.convert("L"), dtype=np.int16)
    laplacian = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    small = np.asarray(image.reduce(max(1, len(picture) // 64)), dtype=np.float32)
    red, green, blue = (float(value) for value in small.mean(axis=(0, 1)))
    saturation = float((small.max(axis=2) - small.min(axis=2)).mean())
    colour = "grey" if saturation < _GREY_SATURATION else "colour"
    sharpness = float(laplacian.std())
    return Statistics(float(grey.mean()), float(grey.std()), saturation, sharpness, red, green, blue, colour)


def _shrunk(grey: Image.Image, width: int, height: int) -> NDArray[np.float32]:
    return np.asarray(grey.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float32)


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)
