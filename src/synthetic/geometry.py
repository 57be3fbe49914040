"""Curves, outlines and where they lie in the image.

Everything here is the same on every machine: NumPy's elementwise `+ - * /` and `sqrt` are correctly rounded
(IEEE 754), and sines and cosines, which are not, are rounded to six digits before they are used. No matrix products,
whose rounding depends on the BLAS and the processor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
"""An outline or a path, shape (n, 2): x to the right, y down."""


Coordinates = NDArray[np.float64]
"""One coordinate of each point, shape (n,)."""


class Box(NamedTuple):
    """An upright rectangle, as fractions of the image's width and height."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Placement:
    """Placement of a shape's coordinates in the image.

    `x` and `y` are the origin's position and `scale` the unit's length, as fractions of the image; `tilt` is a turn
    about the origin in degrees, clockwise.
    """

    x: float
    y: float
    scale: float
    tilt: float = 0.0

    def __call__(self, points: Points) -> Points:
        """Return `points` in fractions of the image."""
        cos, sin = self._turn
        x, y = points[:, 0], points[:, 1]
        return as_points(self.x + (x * cos - y * sin), self.y + (x * sin + y * cos))

    @cached_property
    def _turn(self) -> tuple[float, float]:
        angle = math.radians(self.tilt)
        return self.scale * round(math.cos(angle), 6), self.scale * round(math.sin(angle), 6)


def as_points(x: Coordinates, y: Coordinates) -> Points:
    """Return points from their coordinates (`np.stack` takes four times as long on outlines as short as ours)."""
    points = np.empty((len(x), 2))
    points[:, 0] = x
    points[:, 1] = y
    return points


def shifted(points: Points, x: float, y: float) -> Points:
    """Return `points` moved by (x, y)."""
    moved: Points = points + np.array([x, y])
    return moved


def bounding_box(points: Points) -> Box:
    """Return the smallest box around `points` (fractions of the image), cut at the image's edges, to four digits."""
    low, high = points.min(axis=0), points.max(axis=0)
    return Box(*(round(min(max(float(value), 0.0), 1.0), 4) for value in (*low, *high)))


def _circle(count: int) -> Points:
    angles = 2 * np.pi * np.arange(count) / count
    return np.round(as_points(np.cos(angles), np.sin(angles)), 6)


CIRCLE = _circle(24)
FINE_CIRCLE = _circle(48)


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Points:
    """Return an ellipse around (x, y)."""
    return CIRCLE * (radius_x, radius_y) + (x, y)


def rounded_rectangle(x: float, y: float, half_width: float, half_height: float) -> Points:
    """Return a rectangle around (x, y) with generously rounded corners (a superellipse of the fourth order)."""
    corner = np.sqrt(np.abs(CIRCLE)) * np.sign(CIRCLE)
    return corner * (half_width, half_height) + (x, y)


def smooth(controls: ArrayLike, closed: bool = False, steps: int = 6) -> Points:
    """Return the Catmull-Rom spline through `controls` (Catmull and Rom 1974), `steps` points to a piece."""
    knots = np.asarray(controls, dtype=np.float64)
    ends = (knots[-1:], knots[:2]) if closed else (knots[:1], knots[-1:])
    padded = np.concatenate([ends[0], knots, ends[1]])
    t = (np.arange(steps) / steps)[None, :, None]
    before, start, stop, after = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    slope, bend = stop - before, 2 * before - 5 * start + 4 * stop - after
    twist = 3 * (start - stop) + after - before
    curve = (start + 0.5 * (t * (slope + t * (bend + t * twist)))).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


def ribbon(path: Points, width: float | Sequence[float] | NDArray[np.float64]) -> Points:
    """Return the outline of a stroke along `path`; `width` is one number or one for each point."""
    along = np.empty_like(path)
    along[1:-1] = path[2:] - path[:-2]
    along[0], along[-1] = path[1] - path[0], path[-1] - path[-2]
    length = np.sqrt(along[:, 0] * along[:, 0] + along[:, 1] * along[:, 1])
    half = np.asarray(width, dtype=np.float64) / 2 / np.maximum(length, 1e-9)
    across = as_points(-along[:, 1] * half, along[:, 0] * half)
    return np.concatenate([path + across, (path - across)[::-1]])


def ring(outer: Points, inner: Points) -> Points:
    """Return the area between two closed outlines, as one outline with a cut of no width."""
    return np.concatenate([outer, outer[:1], inner, inner[:1]])


def mirrored(points: Points) -> Points:
    """Return `points` seen in a mirror on the axis x = 0."""
    return points * (-1.0, 1.0)


def symmetric(half: Points) -> Points:
    """Return a closed outline from its half on the right of the axis."""
    return np.concatenate([half, mirrored(half)[::-1]])


EYE_LEVEL = -0.06
MOUTH_LEVEL = 0.53
# Positions along a mouth or a lid from one corner (-1) to the other (1), and the arch over them: 0 at the corners.
ALONG = np.linspace(-1.0, 1.0, 17)
ARCH = 1.0 - ALONG * ALONG


def head_outline(width: float, jaw: float) -> Points:
    """Return the outline of a head, shape (48, 2), clockwise on the screen from its rightmost point over the chin.

    `width` is half its width; `jaw` goes from 0 (pointed chin) to 1 (square jaw).
    """
    x, y = FINE_CIRCLE[:, 0], FINE_CIRCLE[:, 1]
    below = np.maximum(y, 0.0)
    taper = 1.0 - (0.30 - 0.20 * jaw) * below * below
    corner = 1.0 + (0.10 + 0.34 * jaw) * below * below * x * x
    return as_points(width * x * taper * corner, y)


def mouth_curves(smile: float, opening: float, width: float) -> tuple[Points, Points]:
    """Return the edges of the upper and the lower lip where they meet or part, from corner to corner, shape (17, 2)
    each.

    `smile` bends the mouth from -1 (corners down) to 1 (corners up); `opening` parts the lips, 0 to 1.
    """
    x = 0.38 * width * (1.0 + 0.08 * smile) * ALONG
    middle = MOUTH_LEVEL + 0.28 * smile * (ARCH - 0.55)
    gap = 0.12 * opening * ARCH
    return as_points(x, middle - gap), as_points(x, middle + gap)


def lips(upper: Points, lower: Points, fullness: float) -> tuple[Points, Points]:
    """Return the outer edges of the upper lip (with its bow) and of the lower lip, shape (17, 2) each."""
    bow = 1.0 - 0.45 * np.maximum(0.0, 1.0 - 12 * ALONG * ALONG)
    above = upper - as_points(0 * ARCH, 0.075 * fullness * ARCH * bow)
    below = lower + as_points(0 * ARCH, 0.095 * fullness * ARCH)
    return above, below


def mouth_corners(upper: Points) -> tuple[Points, Points]:
    """Return the small dimples at both ends of a mouth with the upper edge `upper`."""
    left, right = (ellipse(x, y, 0.028, 0.024) for x, y in (upper[0], upper[-1]))
    return left, right


def mouth_extent(smile: float, opening: float, width: float, fullness: float) -> Points:
    """Return points around all that is drawn for the mouth: its lips and its corners."""
    upper, lower = mouth_curves(smile, opening, width)
    return np.concatenate([*lips(upper, lower, fullness), *mouth_corners(upper)])


def brow_outline(expression: float, lift: float, thickness: float, spacing: float) -> Points:
    """Return the outline of the brow on the right of the image, thinner towards its outer end.

    `lift` raises it, -1 to 1; `expression` goes from -1 (sad: the inner end pulled up) to 1 (happy: arched).
    """
    sad, happy = max(-expression, 0.0), max(expression, 0.0)
    level = EYE_LEVEL - 0.27 - 0.08 * lift
    inner = (0.17 + spacing / 4, level - 0.15 * sad - 0.01 * happy)
    middle = (0.36 + spacing / 2, level - 0.05 - 0.02 * sad - 0.07 * happy)
    outer = (0.56 + spacing / 2, level + 0.03 + 0.09 * sad)
    path = smooth([inner, middle, outer], steps=5)
    return ribbon(path, thickness * np.linspace(1.0, 0.45, len(path)))


def lids(expression: float, openness: float) -> tuple[Points, Points]:
    """Return the upper and the lower lid of the eye on the right of the image around the eye's own center, (17, 2)
    each.

    `expression` goes from -1 (sad: the upper lid hangs, most of all outside) to 1 (happy: the cheek pushes the lower
    lid up); `openness` is the height of a neutral eye, 1 being usual.
    """
    sad, happy = max(-expression, 0.0), max(expression, 0.0)
    outward = 0.5 * (ALONG + 1.0)
    sag = sad * (0.075 * outward - 0.045 * (1.0 - outward))
    upper = sag - openness * (0.12 - 0.035 * sad) * ARCH
    lower = sag + openness * (0.085 - 0.125 * happy) * ARCH
    return as_points(0.17 * ALONG, upper), as_points(0.17 * ALONG, lower)
