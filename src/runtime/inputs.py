"""Pictures as a program sends them: a file's bytes, the same as base64 text, or pixels."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.images import prepare_image
from ..data.samples import RejectedPictureError
from .classifier import BATCH_SIZE, Answer, Classifier, Prepared
from .pictures import Picture

PIXEL_DIMENSIONS = 3


def answer_inputs(classifier: Classifier, values: Iterable[Any]) -> Iterator[Answer]:
    """Answers in order, their paths counting from 0. One input that cannot be used gets its verdict, the rest go on."""
    numbered = enumerate(single for value in values for single in _singles(value))
    while batch := list(islice(numbered, BATCH_SIZE)):
        prepared = [_prepare(classifier, value) for _, value in batch]
        yield from classifier.answer([Picture(str(place)) for place, _ in batch], prepared)


def _singles(value: Any) -> Iterable[Any]:
    """The pictures in one value: MLflow hands over a JSON list of texts, or pixels of four dimensions, as one."""
    first, depth = value, 0
    while isinstance(first, list | np.ndarray) and len(first) and depth < PIXEL_DIMENSIONS:
        first, depth = first[0], depth + 1
    many = isinstance(first, list | np.ndarray) or (depth == 1 and isinstance(first, str | bytes))
    return value if depth and many else [value]


def _prepare(classifier: Classifier, value: Any) -> Prepared:
    try:
        if isinstance(value, str):
            value = _from_base64(value)
        if isinstance(value, bytes):
            return classifier.prepare(Picture("input", value))
        pixels = as_pixels(value)
    except RejectedPictureError as error:
        return error
    return np.asarray(prepare_image(Image.fromarray(pixels), classifier.bundle.image_size))


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RejectedPictureError("unreadable", "text that is no base64") from None


def as_pixels(value: Any) -> NDArray[np.uint8]:
    """An array or nested list of numbers from 0 to 255, (height, width, 3) RGB or (height, width) grey, as uint8.

    Raises RejectedPictureError for anything else. Fractions that end at 1 are rejected, not taken for a black picture:
    the model wants 0 to 255.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise RejectedPictureError("unreadable", "rows of different lengths") from None
    if array.dtype.kind not in "uif" or array.size == 0 or not (array.ndim == 2 or array.shape[2:] == (3,)):
        found = f"{array.dtype} {array.shape}"
        raise RejectedPictureError("unreadable", f"{found}: numbers (height, width, 3) or (height, width) are wanted")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise RejectedPictureError("unreadable", "pixels outside 0 to 255")
    if array.max() <= 1 and (array % 1).any():
        raise RejectedPictureError("unreadable", "pixels from 0 to 1: multiply them by 255")
    return np.rint(array).astype(np.uint8)
