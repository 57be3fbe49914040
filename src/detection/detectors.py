"""Where the faces in an image are: by BlazeFace, by OpenCV's cascade, or by the user's YuNet file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from ..errors import BundleError
from .blazeface import find_faces, load_blazeface

CASCADE_FILE = "haarcascade_frontalface_alt2.xml"
CASCADE_SIDE = 480
"""The cascade looks for faces in an image of at most this side: time grows with its area."""

NEIGHBORS = 3
"""Overlapping hits that make a face: OpenCV's own value."""

SCALE, CLOSE_UP_SCALE = 1.15, 1.1
"""From one size of face to the next: the first takes 0.72 of the time of OpenCV's own 1.1 and is right as often."""

CLOSE_UP_SIDE = 160
MIN_FACE_SIDE = 24

_Number = Annotated[float, Strict()]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(allow_inf_nan=False))
class Detection:
    """How a bundle finds faces and cuts them out, so that they look as its face model has learned them.

    `margin` is that share of a box's side which is shown beyond each side of it; `min_score` is how sure BlazeFace must
    be of a face.
    """

    detector: Literal["blazeface", "cascade"]
    margin: Annotated[_Number, Field(ge=-0.25, le=1)]
    min_score: Annotated[_Number, Field(gt=0, lt=1)] = 0.5


CASCADE = Detection(detector="cascade", margin=0.12)
"""That of bundles which name none. FER-2013's crops show a little more than OpenCV's boxes."""

BLAZEFACE = Detection(detector="blazeface", margin=0.12, min_score=0.6)
"""What a new bundle is made with, for face models that were trained on crops like FER-2013's."""


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
        """The faces from left to right, an order that does not depend on how they are found."""
        return sorted(self.find(image), key=lambda box: (box.left, box.top, box.side))

    def crop(self, image: Image.Image, box: Box) -> Image.Image:
        """The part of an upright image that shows a face, with the margin, as far as the image goes."""
        margin = round(self.settings.margin * box.side)
        right, bottom = box.left + box.side + margin, box.top + box.side + margin
        left, top = max(0, box.left - margin), max(0, box.top - margin)
        return image.crop((left, top, min(image.width, right), min(image.height, bottom)))


def create_detector(settings: Detection = BLAZEFACE) -> Detector:
    """The detector that a bundle asks for. Raises BundleError where what it needs is not installed."""
    if settings.detector == "cascade":
        return Detector(_cascade(CASCADE_SIDE), settings)
    return Detector(_blazeface(settings.min_score), settings)


def _blazeface(min_score: float) -> Callable[[Image.Image], list[Box]]:
    networks = load_blazeface()

    def find(image: Image.Image) -> list[Box]:
        found = find_faces(networks, image, min_score)
        boxes = [_square(left, top, right - left, bottom - top) for _, left, top, right, bottom in found]
        return [box for box in boxes if _lies_in(box, image)]

    return find


def _cascade(max_side: int) -> Callable[[Image.Image], list[Box]]:
    """OpenCV's frontal-face cascade (Viola and Jones 2001; Lienhart and Maydt 2002), which comes with it.

    Faces are looked for in an image shrunk to `max_side`. Where none is found, one large face is looked for in a small
    copy with a border: the cascade misses a face that fills the image.
    """
    cv2 = _opencv()
    cv2.setNumThreads(1)  # images are spread over the cores, not parts of one
    own = threading.local()  # a cascade holds the image that it works on

    def look(gray: NDArray[np.uint8], min_side: int, step: float, scale: float, border: int) -> list[Box]:
        if not hasattr(own, "cascade"):
            own.cascade = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE_FILE)
        found = own.cascade.detectMultiScale(cv2.equalizeHist(gray), step, NEIGHBORS, minSize=(min_side, min_side))
        places = ((scale * (left - border), scale * (top - border), scale * side) for left, top, side, _ in found)
        return [Box(round(left), round(top), round(side)) for left, top, side in places]

    def shrunk(gray: NDArray[np.uint8], longest: int) -> tuple[NDArray[np.uint8], float]:
        scale = max(1.0, max(gray.shape) / longest)
        small = cv2.resize(gray, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA) if scale > 1 else gray
        return small, scale

    def find(image: Image.Image) -> list[Box]:
        full = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2GRAY)
        gray, scale = shrunk(full, max_side)
        if found := look(gray, MIN_FACE_SIDE, SCALE, scale, 0):
            return found
        small, scale = shrunk(full, CLOSE_UP_SIDE)
        border = min(small.shape) // 4
        padded = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_CONSTANT)
        return look(padded, max(MIN_FACE_SIDE, min(small.shape) // 2), CLOSE_UP_SCALE, scale, border)

    return find


def yunet_detector(file: Path, confidence: float = 0.7) -> Detector:
    """YuNet (Wu et al. 2023) from the user's own ONNX file. Raises BundleError where it cannot be used."""
    cv2 = _opencv()
    try:
        network = cv2.FaceDetectorYN.create(str(file), "", (320, 320), confidence)
        network.detect(np.zeros((320, 320, 3), np.uint8))  # another network opens as well, and fails here
    except cv2.error as error:
        raise BundleError(f"{file}: OpenCV cannot read it as a YuNet model: {error.err}") from None

    def find(image: Image.Image) -> list[Box]:
        network.setInputSize(image.size)
        _, found = network.detect(cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR))
        return [_square(*face[:4]) for face in (found if found is not None else [])]

    return Detector(find, CASCADE)


def _square(left: float, top: float, width: float, height: float) -> Box:
    side = max(width, height)
    return Box(round(left - (side - width) / 2), round(top - (side - height) / 2), round(side))


def _lies_in(box: Box, image: Image.Image) -> bool:
    """Whether the middle of a box is in the image: a network also looks at the border around it."""
    middle = (box.left + box.side / 2, box.top + box.side / 2)
    return box.side > 1 and all(0 < at < length for at, length in zip(middle, image.size, strict=True))


def _opencv():  # type: ignore[no-untyped-def] # the cv2 module, whose import is late
    try:
        import cv2
    except ImportError:
        raise BundleError("finding faces needs OpenCV: pip install opencv-python-headless") from None
    return cv2
