"""Faces in an image: where they are, how they are cut out, and images that are a cut-out face already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass as plain_dataclass
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from .blazeface import find_faces, load_blazeface

_Number = Annotated[float, Strict()]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(allow_inf_nan=False))
class Detection:
    """Settings by which a bundle finds faces and cuts them out, so that they look as its face model learned them.

    `margin` is that share of a box's side which is shown beyond each side of it; `min_score` is the lowest score of
    a face.
    """

    margin: Annotated[_Number, Field(ge=-0.25, le=1)]
    min_score: Annotated[_Number, Field(gt=0, lt=1)] = 0.5


BLAZEFACE = Detection(margin=0.12, min_score=0.6)
"""Settings of new bundles, for face models that were trained on crops like FER-2013's."""


@plain_dataclass(frozen=True, slots=True)
class Box:
    """A square in pixels of the upright image, of which it may lead out."""

    left: int
    top: int
    side: int


@plain_dataclass(frozen=True)
class Detector:
    """`find` gives the faces of an upright RGB image, in any thread; `settings` say how they are cut out."""

    find: Callable[[Image.Image], list[Box]]
    settings: Detection

    def faces(self, image: Image.Image) -> list[Box]:
        """Return the faces from left to right, an order that does not depend on how they are found."""
        return sorted(self.find(image), key=lambda box: (box.left, box.top, box.side))

    def crop(self, image: Image.Image, box: Box) -> Image.Image:
        """Return the part of an upright image that shows a face, with the margin, as far as the image goes."""
        margin = round(self.settings.margin * box.side)
        right, bottom = box.left + box.side + margin, box.top + box.side + margin
        left, top = max(0, box.left - margin), max(0, box.top - margin)
        return image.crop((left, top, min(image.width, right), min(image.height, bottom)))


def create_detector(settings: Detection = BLAZEFACE) -> Detector:
    """Return a detector with a bundle's settings. Raises BundleError where LiteRT is not installed."""
    networks = load_blazeface()

    def find(image: Image.Image) -> list[Box]:
        found = find_faces(networks, image, settings.min_score)
        boxes = [_square(left, top, right - left, bottom - top) for _, left, top, right, bottom in found]
        return [box for box in boxes if _lies_in(box, image)]

    return Detector(find, settings)


def _square(left: float, top: float, width: float, height: float) -> Box:
    side = max(width, height)
    return Box(round(left - (side - width) / 2), round(top - (side - height) / 2), round(side))


def _lies_in(box: Box, image: Image.Image) -> bool:
    """Return True if the middle of a box is in the image: a network also looks at the border around it."""
    middle = (box.left + box.side / 2, box.top + box.side / 2)
    return box.side > 1 and all(0 < at < length for at, length in zip(middle, image.size, strict=True))


COMPARED_SIDE = 480
"""Longest side in pixels at which an image is tested for enlargement."""

ONE_FACE = 1.5
"""An image of at most this many times the side of a prepared face is a face crop already."""

MAX_LOST, MAX_ASPECT = 0.002, 1.25
"""An enlarged face loses this share of its variance at most where it is made so small, and is about square."""


def is_face_crop(upright: Image.Image, size: int) -> bool:
    """Return True if an upright RGB image is hardly larger than the `size` of a prepared face, or about square and
    shows no more than it would then: a face that was cut out, and maybe enlarged since, in whose blur none is found.

    Of 600 faces of FER-2013's validation part, enlarged from 48 to 350 pixels in three ways, 0.975 are found to be so,
    and of 3,833 web photos (of training and validation) 1.
    """
    side = round(ONE_FACE * size)
    width, height = upright.size
    if max(width, height) <= side:
        return True
    if max(width, height) > MAX_ASPECT * min(width, height):
        return False
    gray = upright.convert("L")
    gray.thumbnail((COMPARED_SIDE, COMPARED_SIDE), Image.Resampling.BILINEAR)
    scale = side / max(gray.size)
    small = gray.resize((round(scale * gray.width), round(scale * gray.height)), Image.Resampling.LANCZOS)
    again = np.asarray(small.resize(gray.size, Image.Resampling.BICUBIC), np.float32)
    pixels = np.asarray(gray, np.float32)
    return bool(np.square(pixels - again).mean() < MAX_LOST * pixels.var())
