"""Random fields with structure, made in the Fourier domain: smooth, fractal, and frost."""

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


def frost(size: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Frost (size, size, 3) in 0..1: fine ridges, as crystals have, thicker in some places than in others."""
    ridges = sum(
        (1 - np.abs(2 * fractal(size, generator, decay) - 1)) ** sharpness for decay, sharpness in ((2.2, 10), (1.6, 5))
    )
    patches = fractal(size, generator, 3.0)
    thickness = np.clip(0.25 + 0.75 * patches * np.asarray(ridges) * 1.4, 0, 1)
    return (thickness[..., None] * np.array(FROST_COLOR)).astype(np.float32)
