"""What speaks for an answer: how it falls when a part of the picture is covered."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..runtime.classifier import Classifier

PATCHES_ACROSS = 12
COVER = 3
"""Sides of the cover, in patches."""

SHOWN_SIZE = 384


def evidence(classifier: Classifier, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Evidence for the answer, float64 (size, size): by how much its log-odds fall where a grey square is laid over the
    picture, as the mean of all squares that cover a pixel (Zeiler and Fergus 2014, arXiv 1311.2901).

    `pixels` is a prepared picture, uint8 (size, size, 3). Negative evidence speaks for the other class. Where the model
    abstains, the answer is the likelier class.
    """
    size = len(pixels)
    edges = np.linspace(0, size, PATCHES_ACROSS + 1).astype(int)
    boxes = [
        (
            edges[max(row, 0)],
            edges[min(row + COVER, PATCHES_ACROSS)],
            edges[max(column, 0)],
            edges[min(column + COVER, PATCHES_ACROSS)],
        )
        for row in range(1 - COVER, PATCHES_ACROSS)
        for column in range(1 - COVER, PATCHES_ACROSS)
    ]
    covered = np.repeat(pixels[None], len(boxes) + 1, axis=0)
    grey = np.rint(pixels.mean(axis=(0, 1))).astype(np.uint8)
    for picture, (top, bottom, left, right) in zip(covered[1:], boxes, strict=True):
        picture[top:bottom, left:right] = grey
    log_odds = _log_odds(classifier.probabilities(covered))
    sign = _answer_sign(classifier, log_odds[0])
    total, count = np.zeros((size, size)), np.zeros((size, size))
    for fall, (top, bottom, left, right) in zip(sign * (log_odds[0] - log_odds[1:]), boxes, strict=True):
        total[top:bottom, left:right] += fall
        count[top:bottom, left:right] += 1
    return total / count


def draw_evidence(pixels: NDArray[np.uint8], found: NDArray[np.float64]) -> Image.Image:
    """The picture in grey with the evidence over it: orange speaks for the answer, blue against it."""
    shown = (SHOWN_SIZE, SHOWN_SIZE)
    grey = Image.fromarray(pixels).convert("L").resize(shown, Image.Resampling.BICUBIC).convert("RGB")
    patches = Image.fromarray(found.astype(np.float32)).resize((PATCHES_ACROSS, PATCHES_ACROSS), Image.Resampling.BOX)
    smooth = np.asarray(patches.resize(shown, Image.Resampling.BICUBIC))
    strength = np.clip(smooth / max(float(np.abs(found).max()), 1e-9), -1, 1)[..., None]
    color = np.where(strength > 0, np.array([255.0, 122, 0]), np.array([30.0, 110, 255]))
    mixed = grey + (color - grey) * 0.75 * np.abs(strength)
    return Image.fromarray(np.rint(np.clip(mixed, 0, 255)).astype(np.uint8))


def _answer_sign(classifier: Classifier, log_odds: float) -> int:
    """1 where class 1 is the answer, -1 where class 0 is: by the threshold, which need not be at even odds."""
    label, names = classifier.bundle.label(1 / (1 + np.exp(-log_odds))), classifier.bundle.class_names
    return (-1, 1)[names.index(label) if label in names else int(log_odds >= 0)]


def _log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(probabilities) - np.log1p(-probabilities)
