"""The 15 common corruptions of ImageNet-C at 5 severities (Hendrycks and Dietterich 2019, arXiv 1903.12261).

Strengths are the constants of the published code (github.com/hendrycks/robustness) for images of 224 pixels; lengths
scale with the image's side. Where this differs from that code, beyond how randomness is sampled:
- gaussian_noise, shot_noise, impulse_noise, brightness, contrast, pixelate, jpeg_compression: nowhere.
- defocus_blur: the disk's rim is anti-aliased before it is softened, and borders are mirrored.
- glass_blur: pixels are gathered from random neighbors all at once; the original swaps them one after the other.
- motion_blur and snow's streaks: half a Gaussian along a line; the original uses ImageMagick's motion blur.
- zoom_blur: Pillow's bilinear resampling; the original uses SciPy's. snow: flakes are not rounded to 8 bits.
- frost: ridged fractal noise; the original has photographs of frost.
- fog: nowhere at 224 pixels; at other sizes its plasma is cut from a map of the next power of 2.
- elastic_transform: one resampling, where the original takes two; displacements are smoothed by a Gaussian that wraps.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage, signal

from ..system import usable_cores

REFERENCE_SIZE = 224
ELASTIC_SIZE = 244  # as published
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
SEVERITIES = (1, 2, 3, 4, 5)

Pixels = NDArray[np.floating]  # (size, size, 3), in 0..1
Corruption = Callable[..., NDArray]
Generator = np.random.Generator


def corrupt(images: NDArray[np.uint8], name: str, severity: int, *, seed: int = 0, first: int = 0) -> NDArray[np.uint8]:
    """Images (n, size, size, 3) under one of `CORRUPTIONS` at severity 1 to 5, on all cores.

    The randomness of an image follows from the seed and its number alone, which counts from `first`: a set may be
    corrupted in chunks.
    """
    function, strengths = CORRUPTIONS[name]
    strength, order = strengths[severity - 1], list(CORRUPTIONS).index(name)

    def change(position: int) -> NDArray[np.uint8]:
        generator = np.random.default_rng([seed, order, severity, first + position])
        changed = function(images[position].astype(np.float32) / 255, generator, *strength)
        return (np.clip(changed, 0, 1) * 255 + 0.5).astype(np.uint8)

    with ThreadPoolExecutor(len(usable_cores())) as pool:
        return np.stack(list(pool.map(change, range(len(images)))))


def gaussian_noise(image: Pixels, generator: Generator, deviation: float) -> Pixels:
    """Electronic noise in low light."""
    return image + deviation * generator.standard_normal(image.shape, dtype=np.float32)


def shot_noise(image: Pixels, generator: Generator, photons: float) -> Pixels:
    """The discreteness of light."""
    return generator.poisson(image * photons).astype(np.float32) / photons


def impulse_noise(image: Pixels, generator: Generator, share: float) -> Pixels:
    """Values that flip to black or white, each channel for itself."""
    dice = generator.random(image.shape, dtype=np.float32)
    return np.where(dice < share / 2, 0, np.where(dice < share, 1, image)).astype(np.float32)


def defocus_blur(image: Pixels, _: Generator, radius: float, soften: float) -> Pixels:
    """A camera out of focus: a disk with a softened rim."""
    radius = _length(image, radius)
    reach = int(np.ceil(radius)) + 2
    distance = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    disk = np.clip(radius - distance + 0.5, 0, 1)
    return _convolve(image, ndimage.gaussian_filter(disk, soften))


def glass_blur(image: Pixels, generator: Generator, deviation: float, reach: int, rounds: int) -> Pixels:
    """Frosted glass: pixels shuffled among near neighbors between two blurs."""
    deviation, reach = _length(image, deviation), max(1, round(_length(image, reach)))
    size = image.shape[0]
    shuffled = _blur(image, deviation)
    grid = np.arange(size)
    for _ in range(rounds):
        shift = generator.integers(-reach, reach + 1, (2, size, size))
        shuffled = shuffled[np.clip(grid[:, None] + shift[0], 0, size - 1), np.clip(grid + shift[1], 0, size - 1)]
    return _blur(shuffled, deviation)


def motion_blur(image: Pixels, generator: Generator, radius: float, deviation: float) -> Pixels:
    """A camera that moves quickly, in a direction up to 45 degrees from the horizontal."""
    angle = generator.uniform(-np.pi / 4, np.pi / 4)
    return _convolve(image, _streak(_length(image, radius), _length(image, deviation), angle))


def zoom_blur(image: Pixels, _: Generator, largest: float, step: float) -> Pixels:
    """A camera that moves towards the object: the mean of zooms from 1 to below `largest`."""
    size = image.shape[0]
    pil_image = Image.fromarray((image * 255 + 0.5).astype(np.uint8))
    zooms = np.arange(1, largest, step)
    total = image.copy()
    for zoom in zooms:
        margin = size * (1 - 1 / zoom) / 2
        box = (margin, margin, size - margin, size - margin)
        total += np.asarray(pil_image.resize((size, size), Image.Resampling.BILINEAR, box), dtype=np.float32) / 255
    return total / (len(zooms) + 1)


def snow(
    image: Pixels,
    generator: Generator,
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: float,
    blur: float,
    keep: float,
) -> Pixels:
    """Flakes that fall in streaks over a whitened image."""
    size = image.shape[0]
    flakes = generator.normal(mean, deviation, (size, size)).astype(np.float32)
    grown = ndimage.zoom(flakes[: int(np.ceil(size / zoom)) + 1, : int(np.ceil(size / zoom)) + 1], zoom, order=1)
    flakes = np.clip(np.where(grown < threshold, 0, grown), 0, 1)[:size, :size, None]
    streak = _streak(_length(image, radius), _length(image, blur), generator.uniform(-3 * np.pi / 4, -np.pi / 4))
    flakes = _convolve(flakes, streak)
    gray = (image @ LUMA)[..., None]
    whitened = keep * image + (1 - keep) * np.maximum(image, gray * 1.5 + 0.5)
    return whitened + flakes + flakes[::-1, ::-1]


def frost(image: Pixels, generator: Generator, keep: float, strength: float) -> Pixels:
    """Ice crystals on a lens."""
    return keep * image + strength * frost_texture(image.shape[0], generator)


def fog(image: Pixels, generator: Generator, strength: float, decay: float) -> Pixels:
    """Fractal fog: plasma of the published `decay`, by whose square every octave's noise is weaker than the last's."""
    brightest = image.max()
    veiled = image + strength * plasma(image.shape[0], generator, decay)[..., None]
    return veiled * brightest / (brightest + strength)


def brightness(image: Pixels, _: Generator, amount: float) -> Pixels:
    """Daylight: the value of hue, saturation and value raised."""
    value = image.max(axis=2, keepdims=True)
    raised = np.clip(value + amount, 0, 1)
    return np.where(value > 0, image * raised / np.maximum(value, 1e-6), raised)


def contrast(image: Pixels, _: Generator, factor: float) -> Pixels:
    """Colors pulled towards the image's mean color."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    return (image - mean) * factor + mean


def elastic_transform(image: Pixels, generator: Generator, reach: float, smooth: float, shear: float) -> Pixels:
    """Stretched and twisted regions: a random affine map and a smooth random displacement.

    Lengths are the published fractions of 244 pixels, on images that have 224.
    """
    size = image.shape[0]
    reach, smooth, shear = (value * ELASTIC_SIZE / REFERENCE_SIZE for value in (reach, smooth, shear))
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij")).astype(np.float64)
    corners = size / 2 + size / 3 * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = corners + generator.uniform(-shear * size, shear * size, corners.shape)
    affine = np.linalg.solve(np.c_[corners, np.ones(3)], moved)
    source = np.einsum("iyx,ij->jyx", grid, affine[:2]) + affine[2][:, None, None]
    noise = generator.uniform(-1, 1, (2, size, size))
    source += reach * size * np.stack([smooth_field(field, smooth * size) for field in noise])
    channels = [ndimage.map_coordinates(image[..., channel], source, order=1, mode="reflect") for channel in range(3)]
    return np.stack(channels, axis=-1)


def pixelate(image: Pixels, _: Generator, factor: float) -> Pixels:
    """An image of few pixels, enlarged."""
    size = image.shape[0]
    pil_image = Image.fromarray((image * 255 + 0.5).astype(np.uint8))
    small = pil_image.resize((max(1, int(size * factor)),) * 2, Image.Resampling.BOX)
    return np.asarray(small.resize((size, size), Image.Resampling.NEAREST), dtype=np.float32) / 255


def jpeg_compression(image: Pixels, _: Generator, quality: int) -> Pixels:
    """The artifacts of strong JPEG compression."""
    buffer = BytesIO()
    Image.fromarray((image * 255 + 0.5).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer, formats=["JPEG"]), dtype=np.float32) / 255


def _length(image: Pixels, pixels: float) -> float:
    return pixels * image.shape[0] / REFERENCE_SIZE


def _blur(image: Pixels, deviation: float) -> Pixels:
    return ndimage.gaussian_filter(image, (deviation, deviation, 0))


def _convolve(image: Pixels, kernel: NDArray) -> Pixels:
    """Every channel convolved with a kernel that is scaled to sum 1; the border is mirrored."""
    reach = kernel.shape[0] // 2
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    weights = (kernel / kernel.sum()).astype(np.float32)[..., None]
    return signal.oaconvolve(padded, weights, mode="valid", axes=(0, 1)).astype(np.float32)


def _streak(radius: float, deviation: float, angle: float) -> NDArray[np.float64]:
    """A kernel whose weight falls off along one side of a line through its center, as a Gaussian does."""
    reach = max(1, int(np.ceil(radius)))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = np.abs(rows * np.cos(angle) - columns * np.sin(angle))
    weight = np.exp(-(along**2) / (2 * max(deviation, 0.5) ** 2)) * np.clip(1 - across, 0, 1)
    return np.where((along >= -0.5) & (along <= radius), weight, 0)


CORRUPTIONS: dict[str, tuple[Corruption, tuple[tuple[float, ...], ...]]] = {
    "gaussian_noise": (gaussian_noise, ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,))),
    "shot_noise": (shot_noise, ((60,), (25,), (12,), (5,), (3,))),
    "impulse_noise": (impulse_noise, ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,))),
    "defocus_blur": (defocus_blur, ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))),
    "glass_blur": (glass_blur, ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))),
    "motion_blur": (motion_blur, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    "zoom_blur": (zoom_blur, ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))),
    "snow": (
        snow,
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "frost": (frost, ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))),
    "fog": (fog, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
    "brightness": (brightness, ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,))),
    "contrast": (contrast, ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,))),
    "elastic_transform": (
        elastic_transform,
        ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    ),
    "pixelate": (pixelate, ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,))),
    "jpeg_compression": (jpeg_compression, ((25,), (18,), (15,), (10,), (7,))),
}


FROST_COLOR = (0.78, 0.87, 0.95)


def smooth_field(field: NDArray[np.floating], deviation: float) -> NDArray[np.float64]:
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


def frost_texture(size: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Frost (size, size, 3) in 0..1: fine ridges, as crystals have, thicker in some places than in others."""
    ridges = sum(
        (1 - np.abs(2 * fractal(size, generator, decay) - 1)) ** sharpness for decay, sharpness in ((2.2, 10), (1.6, 5))
    )
    patches = fractal(size, generator, 3.0)
    thickness = np.clip(0.25 + 0.75 * patches * np.asarray(ridges) * 1.4, 0, 1)
    return (thickness[..., None] * np.array(FROST_COLOR)).astype(np.float32)
