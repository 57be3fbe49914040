"""Random changes to training images on the processor: uint8 in and out, each image resampled and recolored once.

A Keras layer goes over every pixel in float32, and resamples anew for each kind of geometry: on a CPU that takes longer
than the training step. Here rotation, shift, zoom, shear and mirroring are one affine map, and brightness, contrast,
saturation, hue and gray one affine map of colors. Strengths mean what they mean to `Augmentation`. What is drawn
follows from the generator that is given, not from threads, so a run repeats to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..config import AugmentationConfig
from ..system import usable_cores
from .augmentation import SHRUNK_BY

GEOMETRY = ("flip", "rotation", "translation", "zoom", "shear")
COLOR = ("brightness", "contrast", "saturation", "hue", "grayscale")
ON_HOST = (*GEOMETRY, *COLOR, "resolution", "erasing", "mixup", "cutmix")
ERASED = (0.02, 0.33)
"""Lowest and highest share of a side's square that is erased (Zhong et al., 2020)."""

LUMA = np.array([0.299, 0.587, 0.114])
Images = NDArray[np.uint8]
Labels = NDArray[np.float32]
Boxes = NDArray[np.float64]


def can_run_on_host(config: AugmentationConfig) -> bool:
    """Return whether every change that is on is known here."""
    return all(field.name in ("name", *ON_HOST) or not getattr(config, field.name) for field in fields(config))


@dataclass(frozen=True)
class _Changes:
    """The random draws for a batch of n images: `maps` (n, 2, 3) from places in the result to places in the image,
    `colors` (n, 3, 3) and `shifts` (n, 3) of colors, `contrasts` (n,), `divisors` (n,) of the resolution (1: none), and
    `holes` (n, 4) as left, top, right, bottom; None where a change is off.
    """

    maps: NDArray[np.float64] | None
    colors: NDArray[np.float64] | None
    shifts: NDArray[np.float64]
    contrasts: NDArray[np.float64]
    divisors: NDArray[np.int64] | None
    holes: NDArray[np.int64] | None
    noise: Images | None


class HostAugmentation:
    """`config`'s changes as a function of a batch. Raises ValueError for a change that is not known here."""

    def __init__(self, config: AugmentationConfig) -> None:
        if not can_run_on_host(config):
            raise ValueError(f"aug={config.name}: holds changes that are made inside the model only")
        self.config = config
        cv2.setNumThreads(1)  # images are spread over the cores, not parts of one
        self.pool = ThreadPoolExecutor(len(usable_cores()), "augmentation")

    def __call__(self, images: Images, labels: Labels, random: np.random.Generator) -> tuple[Images, Labels]:
        """Changed copies of `images`, uint8 (n, height, width, 3), and of `labels`, float32 (n, 1).

        Labels change only where images are mixed; where MixUp and CutMix are both on, each image gets one of them,
        by a fair coin.
        """
        changes = self._draw(len(images), images.shape[1], images.shape[2], random)
        images = np.ascontiguousarray(images)
        changed = list(self.pool.map(lambda row: _change(images[row], row, changes), range(len(images))))
        return self._mix(changed, labels, random)

    def _draw(self, count: int, height: int, width: int, random: np.random.Generator) -> _Changes:
        config = self.config
        noise = divisors = holes = None
        maps = _draw_maps(config, count, height, width, random) if _any(config, GEOMETRY) else None
        shifts, contrasts, colors = np.zeros((count, 3)), np.ones(count), None
        if _any(config, COLOR):
            shifts = np.repeat(255 * _around(random, config.brightness, (count, 1)), 3, axis=1)
            contrasts = 1 + _around(random, config.contrast, count)
            colors = _draw_colors(config, count, random)
        if config.resolution:
            place = (random.random(count) / config.resolution * len(SHRUNK_BY)).astype(int)
            divisors = np.array([*SHRUNK_BY, *[1] * (int(len(SHRUNK_BY) / config.resolution) + 1)])[place]
        if config.erasing:
            sides = np.sqrt(random.uniform(*ERASED, (count, 2)))
            holes = _boxes(sides, height, width, random).round().astype(int)
            holes[random.random(count) >= config.erasing] = 0
            noise = np.clip(255 * random.standard_normal((height, width, 3), "float32"), 0, 255).astype("uint8")
        return _Changes(maps, colors, shifts, contrasts, divisors, holes, noise)

    def _mix(self, images: Sequence[Images], labels: Labels, random: np.random.Generator) -> tuple[Images, Labels]:
        count, config = len(images), self.config
        result: Images = np.empty((count, *images[0].shape), "uint8")
        cuts = random.random(count) < 0.5 if config.mixup and config.cutmix else np.full(count, bool(config.cutmix))
        if not (config.mixup or config.cutmix):
            np.stack(images, out=result)
            return result, labels
        height, width = images[0].shape[:2]
        weights, partners, boxes = self._draw_mixing(count, height, width, cuts, random)

        def mix(row: int) -> None:
            if cuts[row]:
                left, top, right, bottom = boxes[row]
                result[row] = images[row]
                result[row, top:bottom, left:right] = images[partners[row]][top:bottom, left:right]
            else:
                cv2.addWeighted(images[row], weights[row], images[partners[row]], 1 - weights[row], 0, dst=result[row])

        list(self.pool.map(mix, range(count)))
        weight = weights[:, None]
        return result, (weight * labels + (1 - weight) * labels[partners]).astype("float32")

    def _draw_mixing(
        self, count: int, height: int, width: int, cuts: NDArray[np.bool_], random: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """The weight of each image's own label (n,), its partner (n,), and the box that is the partner's (n, 4)."""
        alphas = np.where(cuts, random.uniform(0, self.config.cutmix or 1) + 1e-6, self.config.mixup or 1)
        weights, partners = random.beta(alphas, alphas), random.permutation(count)
        sides = np.sqrt(1 - np.repeat(weights[:, None], 2, axis=1))
        boxes = _boxes(sides, height, width, random).round().astype(int)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return np.where(cuts, 1 - areas / (height * width), weights), partners, boxes


def _any(config: AugmentationConfig, names: Sequence[str]) -> bool:
    return any(getattr(config, name) for name in names)


def _around(random: np.random.Generator, strength: float, shape: int | tuple[int, ...]) -> NDArray[np.float64]:
    return random.uniform(-strength, strength, shape)


def _boxes(sides: Boxes, height: int, width: int, random: np.random.Generator) -> Boxes:
    """Boxes (n, 4) of the shares `sides` (n, 2) of width and height, anywhere in the image."""
    sizes = sides * (width, height)
    starts = random.random(sides.shape) * ((width, height) - sizes)
    return np.concatenate([starts, starts + sizes], axis=1)


def _draw_maps(
    config: AugmentationConfig, count: int, height: int, width: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Mirroring, rotation, shift, zoom and shear, in this order, as one map for each image."""
    x, y = (width - 1) / 2, (height - 1) / 2
    mirrored = np.where(random.random(count) < 0.5, -1.0, 1.0) if config.flip else np.ones(count)
    angle = 2 * np.pi * _around(random, config.rotation, count)
    right, down = (
        width * _around(random, config.translation, count),
        height * _around(random, config.translation, count),
    )
    zoom = 1 + _around(random, config.zoom, count)
    shear_x, shear_y = _around(random, config.shear, count), _around(random, config.shear, count)
    cosine, sine = np.cos(angle), np.sin(angle)
    mirror = _affine(mirrored, 0, 0, 1, x - mirrored * x, 0)
    rotation = _affine(cosine, -sine, sine, cosine, x - x * cosine + y * sine, y - x * sine - y * cosine)
    shift = _affine(1, 0, 0, 1, -right, -down)
    scale = _affine(zoom, 0, 0, zoom, x * (1 - zoom), y * (1 - zoom))
    shear = _affine(1, shear_x, shear_y, 1, 0, 0)
    return (mirror @ rotation @ shift @ scale @ shear)[:, :2]


def _affine(*values: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices (n, 3, 3) of x' = a x + b y + e, y' = c x + d y + f, from a, b, c, d, e, f."""
    a, b, c, d, e, f, zero, one = np.broadcast_arrays(*values, 0.0, 1.0)
    rows = np.stack([a, b, e, c, d, f, zero, zero, one], axis=-1)
    return rows.reshape(-1, 3, 3)


def _draw_colors(config: AugmentationConfig, count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Saturation as the distance from gray, hue as a turn about the gray axis, and gray itself, as one matrix."""
    share = 0.5 + _around(random, config.saturation, count)
    saturation = np.minimum(share / (1 - share + 1e-7), 255)[:, None, None]
    turn = np.pi * _around(random, config.hue, count)
    gray, identity = np.broadcast_to(LUMA, (3, 3)), np.eye(3)
    saturated = gray + saturation * (identity - gray)
    matrices = _turns(turn) @ saturated
    matrices[random.random(count) < config.grayscale] = gray
    return matrices


def _turns(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotations (n, 3, 3) about (1, 1, 1) (Rodrigues)."""
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    cosine, sine = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    return cosine * np.eye(3) + sine * cross + (1 - cosine) / 3


def _change(image: Any, row: int, changes: _Changes) -> Any:
    """One image, uint8 (height, width, 3), as `changes` has it."""
    height, width = image.shape[:2]
    if changes.maps is not None:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        image = cv2.warpAffine(image, changes.maps[row], (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
    if changes.colors is not None:
        contrast, shift = changes.contrasts[row], changes.shifts[row]
        mean = np.array(cv2.mean(image)[:3]) if contrast != 1 else np.zeros(3)
        offset = changes.colors[row] @ (shift + (1 - contrast) * mean)
        matrix = np.column_stack([contrast * changes.colors[row], offset]).astype("float32")
        image = cv2.transform(image, matrix)
    if changes.divisors is not None and changes.divisors[row] > 1:
        small = (max(1, width // changes.divisors[row]), max(1, height // changes.divisors[row]))
        image = cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), (width, height))
    if changes.holes is not None:
        assert changes.noise is not None  # noqa: S101 - for the type checker
        left, top, right, bottom = changes.holes[row]
        image = image.copy() if image.base is not None else image
        image[top:bottom, left:right] = changes.noise[top:bottom, left:right]
    return image
