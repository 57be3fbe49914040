"""Faces in a picture: found by OpenCV, cropped with a margin, evaluated one by one and drawn with their labels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..data.images import MAX_SIDE, open_upright, prepare_image
from ..data.samples import RejectedPictureError
from ..errors import BundleError
from .classifier import Answer, Classifier, Prepared, no_answer
from .pictures import Picture

MARGIN = 0.12
"""Of a face's side, added on each side: FER-2013's crops show a little more than OpenCV's boxes."""

CASCADE = "haarcascade_frontalface_alt2.xml"
NEIGHBORS = 3
"""Overlapping hits that make a face: OpenCV's own value."""

SCALE, CLOSE_UP_SCALE = 1.15, 1.1
"""From one size of face to the next: the first takes 0.72 of the time of OpenCV's own 1.1 and is right as often."""

CLOSE_UP_SIDE = 160
MIN_FACE_SIDE = 24
MIN_TEXT_SIZE = 10
COLORS = ("#1e6eff", "#ff7a00")


@dataclass(frozen=True, slots=True)
class Box:
    """A square in pixels of the upright picture."""

    left: int
    top: int
    side: int


Detector = Callable[[NDArray[np.uint8]], list[Box]]
"""An upright picture, uint8 RGB (height, width, 3), to its faces."""


@dataclass(frozen=True, slots=True)
class FaceAnswer:
    """A face and what is said of it."""

    box: Box
    answer: Answer


def create_detector(yunet: Path | None = None) -> Detector:
    """YuNet where the user names its file, else the cascade that comes with OpenCV. Raises BundleError."""
    return yunet_detector(yunet) if yunet else haar_detector()


def haar_detector(max_side: int = MAX_SIDE) -> Detector:
    """OpenCV's frontal-face cascade (Viola and Jones 2001; Lienhart and Maydt 2002), which comes with it.

    Faces are looked for in a picture shrunk to `max_side`, whose area decides the time. Where none is found, one large
    face is looked for in a small copy with a border: the cascade misses a face that fills the picture. On 642 web
    photos of people not trained on it finds a face in 0.42, and the shipped model is right on 0.963 of these. Steps of
    1.2, smaller pictures or larger faces save time too; answers differ by 0.005 at most.

    Raises BundleError where OpenCV is not installed.
    """
    cv2 = _opencv()
    cv2.setNumThreads(1)  # pictures are spread over the cores, not parts of one
    own = threading.local()  # a cascade holds the picture that it works on

    def look(grey: NDArray[np.uint8], min_side: int, step: float, scale: float, border: int) -> list[Box]:
        if not hasattr(own, "cascade"):
            own.cascade = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)
        found = own.cascade.detectMultiScale(cv2.equalizeHist(grey), step, NEIGHBORS, minSize=(min_side, min_side))
        places = ((scale * (left - border), scale * (top - border), scale * side) for left, top, side, _ in found)
        return [Box(round(left), round(top), round(side)) for left, top, side in places]

    def shrunk(grey: NDArray[np.uint8], longest: int) -> tuple[NDArray[np.uint8], float]:
        scale = max(1.0, max(grey.shape) / longest)
        small = cv2.resize(grey, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA) if scale > 1 else grey
        return small, scale

    def detect(picture: NDArray[np.uint8]) -> list[Box]:
        grey, scale = shrunk(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), max_side)
        if found := look(grey, MIN_FACE_SIDE, SCALE, scale, 0):
            return found
        small, scale = shrunk(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), CLOSE_UP_SIDE)
        border = min(small.shape) // 4
        padded = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_CONSTANT)
        return look(padded, max(MIN_FACE_SIDE, min(small.shape) // 2), CLOSE_UP_SCALE, scale, border)

    return detect


def yunet_detector(file: Path, confidence: float = 0.7) -> Detector:
    """YuNet (Wu et al. 2023) from the user's own ONNX file. Raises BundleError where it cannot be used."""
    cv2 = _opencv()
    try:
        network = cv2.FaceDetectorYN.create(str(file), "", (320, 320), confidence)
    except cv2.error as error:
        raise BundleError(f"{file}: OpenCV cannot read it as a YuNet model: {error.err}") from None

    def detect(picture: NDArray[np.uint8]) -> list[Box]:
        height, width = picture.shape[:2]
        network.setInputSize((width, height))
        _, found = network.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        return [_square(*face[:4]) for face in (found if found is not None else [])]

    return detect


def classify_faces(classifier: Classifier, detect: Detector, picture: Picture) -> tuple[Image.Image, list[FaceAnswer]]:
    """The upright picture and an answer for each of its faces, from left to right; none where no face is found.

    Raises RejectedPictureError.
    """
    upright = open_upright(picture.read(classifier.limits), classifier.limits)
    boxes = from_left_to_right(detect(np.asarray(upright)))
    crops: list[Prepared[NDArray[np.uint8]]] = [
        np.asarray(prepare_image(crop_face(upright, box), classifier.bundle.image_size)) for box in boxes
    ]
    named = [Picture(f"{picture.path}#{number}") for number in range(1, len(boxes) + 1)]
    return upright, list(map(FaceAnswer, boxes, classifier.answer(named, crops)))


def from_left_to_right(boxes: Iterable[Box]) -> list[Box]:
    """The boxes in an order that does not depend on the detector's."""
    return sorted(boxes, key=lambda box: (box.left, box.top, box.side))


def face_answers(classifier: Classifier, detect: Detector, picture: Picture) -> list[Answer]:
    """An answer for each face of a picture; where there is none, or no picture, one that says so."""
    try:
        _, faces = classify_faces(classifier, detect, picture)
    except RejectedPictureError as error:
        return [no_answer(picture.path, classifier.model_id, error)]
    if not faces:
        return [Answer(picture.path, None, None, None, "no_face", classifier.model_id, "no face found")]
    return [face.answer for face in faces]


def draw_faces(picture: Image.Image, faces: Sequence[FaceAnswer], class_names: Sequence[str]) -> Image.Image:
    """The picture with each face boxed and labelled with its answer and how likely that is."""
    drawn = picture.copy()
    draw = ImageDraw.Draw(drawn)
    width = max(2, picture.width // 300)
    for face in faces:
        answer = face.answer
        color = COLORS[(answer.probability or 0.0) >= 0.5 if answer.label is None else answer.label == class_names[1]]
        text = answer.verdict if answer.confidence is None else f"{answer.label} {answer.confidence:.0%}"
        text_size = max(MIN_TEXT_SIZE, face.box.side // 6)  # about as wide as the box
        font = ImageFont.load_default(text_size)
        corner = (face.box.left, face.box.top)
        draw.rectangle((*corner, face.box.left + face.box.side, face.box.top + face.box.side), None, color, width)
        anchor = "lb" if face.box.top > 1.5 * text_size else "lt"
        draw.rectangle(draw.textbbox(corner, text, font, anchor), color)
        draw.text(corner, text, "white", font, anchor)
    return drawn


def crop_face(picture: Image.Image, box: Box) -> Image.Image:
    """The part of an upright picture that shows a face, with a margin, as far as the picture goes."""
    margin = round(MARGIN * box.side)
    right, bottom = box.left + box.side + margin, box.top + box.side + margin
    left, top = max(0, box.left - margin), max(0, box.top - margin)
    return picture.crop((left, top, min(picture.width, right), min(picture.height, bottom)))


def _square(left: float, top: float, width: float, height: float) -> Box:
    side = max(width, height)
    return Box(round(left - (side - width) / 2), round(top - (side - height) / 2), round(side))


def _opencv():  # type: ignore[no-untyped-def] # the cv2 module, whose import is late
    try:
        import cv2
    except ImportError:
        raise BundleError("finding faces needs OpenCV: pip install opencv-python-headless") from None
    return cv2
