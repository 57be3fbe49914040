"""The lines of a face in face coordinates: the crown at y = -1, the chin at y = 1, the axis of the face at x = 0.

Only what more than one part of the program needs stands here: what draws a mouth and what says where it is.
"""

from __future__ import annotations

import numpy as np

from src.data.faces.geometry import FINE_CIRCLE, Points, as_points, ellipse, ribbon, smooth

EYE_LEVEL = -0.06
MOUTH_LEVEL = 0.53
# Positions along a mouth or a lid from one corner (-1) to the other (1), and the arch over them: 0 at the corners.
ALONG = np.linspace(-1.0, 1.0, 17)
ARCH = 1.0 - ALONG * ALONG


def head_outline(width: float, jaw: float) -> Points:
    """The outline of a head, shape (48, 2), clockwise on the screen from its rightmost point over the chin.

    `width` is half its width; `jaw` goes from 0 (pointed chin) to 1 (square jaw).
    """
    x, y = FINE_CIRCLE[:, 0], FINE_CIRCLE[:, 1]
    below = np.maximum(y, 0.0)
    taper = 1.0 - (0.30 - 0.20 * jaw) * below * below
    corner = 1.0 + (0.10 + 0.34 * jaw) * below * below * x * x
    return as_points(width * x * taper * corner, y)


def mouth_curves(smile: float, opening: float, width: float) -> tuple[Points, Points]:
    """The edges of the upper and the lower lip where they meet or part, from corner to corner, shape (17, 2) each.

    `smile` bends the mouth from -1 (corners down) to 1 (corners up); `opening` parts the lips, 0 to 1.
    """
    x = 0.38 * width * (1.0 + 0.08 * smile) * ALONG
    middle = MOUTH_LEVEL + 0.28 * smile * (ARCH - 0.55)
    part = 0.12 * opening * ARCH
    return as_points(x, middle - part), as_points(x, middle + part)


def lips(upper: Points, lower: Points, fullness: float) -> tuple[Points, Points]:
    """The outer edges of the upper lip (with its bow) and of the lower lip, shape (17, 2) each."""
    bow = 1.0 - 0.45 * np.maximum(0.0, 1.0 - 12 * ALONG * ALONG)
    above = upper - as_points(0 * ARCH, 0.075 * fullness * ARCH * bow)
    below = lower + as_points(0 * ARCH, 0.095 * fullness * ARCH)
    return above, below


def mouth_corners(upper: Points) -> tuple[Points, Points]:
    """The small dimples at both ends of a mouth whose upper edge is `upper`."""
    left, right = (ellipse(x, y, 0.028, 0.024) for x, y in (upper[0], upper[-1]))
    return left, right


def mouth_extent(smile: float, opening: float, width: float, fullness: float) -> Points:
    """Points around all that is drawn for the mouth: its lips and its corners."""
    upper, lower = mouth_curves(smile, opening, width)
    return np.concatenate([*lips(upper, lower, fullness), *mouth_corners(upper)])


def brow_outline(expression: float, lift: float, thickness: float, spacing: float) -> Points:
    """The outline of the brow on the right of the picture, thinner towards its outer end.

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
    """The upper and the lower lid of the eye on the right of the picture around the eye's own centre, (17, 2) each.

    `expression` goes from -1 (sad: the upper lid hangs, most of all outside) to 1 (happy: the cheek pushes the lower
    lid up); `openness` is the height of a neutral eye, 1 being usual.
    """
    sad, happy = max(-expression, 0.0), max(expression, 0.0)
    outward = 0.5 * (ALONG + 1.0)
    sag = sad * (0.075 * outward - 0.045 * (1.0 - outward))
    upper = sag - openness * (0.12 - 0.035 * sad) * ARCH
    lower = sag + openness * (0.085 - 0.125 * happy) * ARCH
    return as_points(0.17 * ALONG, upper), as_points(0.17 * ALONG, lower)
