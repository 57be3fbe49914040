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


@dataclass(frozen=True)
class Statistics:
    """Of one picture, shrunk to about 128 pixels a side, in grey levels: means, and for contrast and sharpness the
    standard deviations of the luma and of its Laplacian. `colour` is "grey" where the channels hardly differ.

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
    """The pHash and dHash of pictures of shape (size, size, 3): 64 bits each, uint64 (n,).

    pHash: the signs of the 8x8 lowest frequencies of a 32x32 grey thumbnail about their median (Zauner 2010,
    "Implementation and benchmarking of perceptual image hash functions"). dHash: whether a pixel of a 9x8 thumbnail
    is brighter than its left neighbour.
    """
    thumbnails = [_shrunk(Image.fromarray(picture).convert("L"), _THUMBNAIL, _THUMBNAIL) for picture in pictures]
    pixels = np.stack([np.asarray(thumbnail, dtype=np.float32) for thumbnail in thumbnails])
    frequencies = dctn(pixels, axes=(1, 2))[:, :_FREQUENCIES, :_FREQUENCIES].reshape(len(thumbnails), -1)
    signs = frequencies > np.median(frequencies, axis=1, keepdims=True)
    small = np.stack([np.asarray(_shrunk(thumbnail, 9, 8), dtype=np.int16) for thumbnail in thumbnails])
    steps = (np.diff(small, axis=2) > 0).reshape(len(thumbnails), -1)
    return _packed(signs), _packed(steps)


def statistics(picture: NDArray[np.uint8]) -> Statistics:
    """Brightness, contrast, saturation, sharpness and mean colour of one picture (size, size, 3)."""
    image = Image.fromarray(picture).reduce(max(1, len(picture) // 128))
    grey = np.asarray(image.convert("L"), dtype=np.float32)
    laplacian = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    red, green, blue = (np.asarray(channel, dtype=np.float32) for channel in image.reduce(2).split())
    highest, lowest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    saturation = float((highest - lowest).mean())
    colour = "grey" if saturation < _GREY_SATURATION else "colour"
    sharpness = float(laplacian.std())
    mean_red, mean_green, mean_blue = (float(channel.mean()) for channel in (red, green, blue))
    return Statistics(
        float(grey.mean()), float(grey.std()), saturation, sharpness, mean_red, mean_green, mean_blue, colour
    )


def _shrunk(grey: Image.Image, width: int, height: int) -> Image.Image:
    return grey.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)
