"""Faces in an image: evaluated one by one and drawn with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..data.images import open_upright, prepare_image
from ..data.samples import RejectedImageError
from ..detection.detectors import Box, Detector, create_detector
from .bundle import Bundle
from .classifier import Answer, Classifier, Prepared, no_answer
from .image_files import ImageFile
from .outputs import percent

MIN_TEXT_SIZE = 10
COLORS = ("#1e6eff", "#ff7a00")


@dataclass(frozen=True, slots=True)
class FaceAnswer:
    """A face and what is said of it."""

    box: Box
    answer: Answer


def face_detector(bundle: Bundle) -> Detector:
    """The detector that `bundle` asks for, or a new bundle's where it does not say. Raises BundleError."""
    return create_detector(bundle.scene.detection) if bundle.scene else create_detector()


def classify_faces(classifier: Classifier, detect: Detector, image: ImageFile) -> tuple[Image.Image, list[FaceAnswer]]:
    """The upright image and an answer for each of its faces, from left to right; none where no face is found.

    Raises RejectedImageError.
    """
    upright = open_upright(image.read(classifier.limits), classifier.limits)
    boxes = detect.faces(upright)
    crops: list[Prepared[NDArray[np.uint8]]] = [
        np.asarray(prepare_image(detect.crop(upright, box), classifier.bundle.image_size)) for box in boxes
    ]
    named = [ImageFile(f"{image.path}#{number}") for number in range(1, len(boxes) + 1)]
    return upright, list(map(FaceAnswer, boxes, classifier.answer(named, crops)))


def face_answers(classifier: Classifier, detect: Detector, image: ImageFile) -> list[Answer]:
    """An answer for each face of an image; where there is none, or no image, one that says so."""
    try:
        _, faces = classify_faces(classifier, detect, image)
    except RejectedImageError as error:
        return [no_answer(image.path, classifier.model_id, error)]
    if not faces:
        return [Answer(image.path, None, None, None, "no_face", classifier.model_id, "no face found")]
    return [face.answer for face in faces]


def draw_faces(image: Image.Image, faces: Sequence[FaceAnswer], class_names: Sequence[str]) -> Image.Image:
    """The image with each face boxed and labeled with its answer and how likely that is."""
    drawn = image.copy()
    draw = ImageDraw.Draw(drawn)
    width = max(2, image.width // 300)
    for face in faces:
        answer = face.answer
        color = COLORS[(answer.probability or 0.0) >= 0.5 if answer.label is None else answer.label == class_names[1]]
        text = answer.verdict if answer.confidence is None else f"{answer.label} {percent(answer.confidence)}"
        text_size = max(MIN_TEXT_SIZE, face.box.side // 6)  # about as wide as the box
        font = ImageFont.load_default(text_size)
        corner = (face.box.left, face.box.top)
        draw.rectangle((*corner, face.box.left + face.box.side, face.box.top + face.box.side), None, color, width)
        anchor = "lb" if face.box.top > 1.5 * text_size else "lt"
        draw.rectangle(draw.textbbox(corner, text, font, anchor), color)
        draw.text(corner, text, "white", font, anchor)
    return drawn
