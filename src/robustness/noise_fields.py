"""Random fields with structure: smooth, fractal and frost, made in the Fourier domain, and the plasma of fog."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

FROST_COLOR = (0.78, 0.87, 0.95)


def smooth(field: NDArray[np.floating], deviation: float) -> NDArray[np.float64]:
    """`field` (size, size) under a Gaussian of `deviation` pixels that wraps around; any width costs the same."""
    return np.asarray(fft.irfft2(ndimage.fourier_gaussian(fft.rfft2(field), deviation, n=field.shape[1]), field.shape))


def fractal(size: int, generator: np.random.Generator, decay: float) -> NDArray[np.float32]:
    """Plasma in 0..1 of shape (size, size), each octave `decay` times weaker than the one below it.

    In two dimensions that is an amplitude that falls as frequency to the power of -(1 + log2(decay)).
    """
    rows, columns = fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    spectrum = fft.rfft2(generator.standard_normal((size, size))) * frequency ** -(1 + np.log2(decay))
    field = np.asarray(fft.irfft2(spectrum, (size, size)))
    field -= field.min()
    return (field / field.max()).astype(np.float32)


def plasma(size: int, generator: np.random.Generator, decay: float) -> NDArray[np.float32]:
    """Plasma in 0..1 of shape (size, size), cut from a map whose side is a power of 2 and which wraps around.

    The diamond-square algorithm of ImageNet-C's `plasma_fractal`: from step to half step every new point is the mean of
    its four neighbors and uniform noise of plus or minus `wibble` squared, where `wibble` falls by `decay` a step; so
    the noise falls by the square of `decay`.
    """
    side = 1 << max(1, (size - 1).bit_length())
    field, step, wibble = np.zeros((side, side)), side, 1.0

    def settle(neighbors: NDArray[np.float64]) -> NDArray[np.float64]:
        return neighbors / 4 + generator.uniform(-(wibble**2), wibble**2, neighbors.shape)

    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        rows = corners + np.roll(corners, -1, axis=0)
        centers = settle(rows + np.roll(rows, -1, axis=1))
        field[half::step, half::step] = centers
        beside = corners + np.roll(corners, -1, axis=1)
        field[::step, half::step] = settle(centers + np.roll(centers, 1, axis=0) + beside)
        beside = corners + np.roll(corners, -1, axis=0)
        field[half::step, ::step] = settle(centers + np.roll(centers, 1, axis=1) + beside)
        step, wibble = half, wibble / decay
    field -= field.min()
    return (field / field.max())[:size, :size].astype(np.float32)


def frost(size: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Frost (size, size, 3) in 0..1: fine ridges, as crystals have, thicker in some places than in others."""
    ridges = sum(
        (1 - np.abs(2 * fractal(size, generator, decay) - 1)) ** sharpness for decay, sharpness in ((2.2, 10), (1.6, 5))
    )
    patches = fractal(size, generator, 3.0)
    thickness = np.clip(0.25 + 0.75 * patches * np.asarray(ridges) * 1.4, 0, 1)
    return (thickness[..., None] * np.array(FROST_COLOR)).astype(np.float32)
