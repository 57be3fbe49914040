"""Predictions for photos: one model classifies the faces, another one the whole image, and both are fused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..data.images import (
    DEFAULT_LIMITS,
    decode_pixels,
    open_upright,
    prepare_image,
    upright_image,
)
from ..data.samples import Limits, RejectedImageError
from ..detection.faces import Box, Detector, create_detector, is_face_crop
from ..errors import BundleError
from ..metrics.log_odds import log_odds, sigmoid
from .bundle import Bundle, Evidence, Scene, describe_faces
from .outputs import percent
from .predictor import Answer, EvidenceMapInputs, ImageFile, ImagePredictor, Prediction, Predictor, Prepared, no_answer
from .runners import create_scene_runner

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


def predict_faces(
    classifier: ImagePredictor, detect: Detector, image: ImageFile
) -> tuple[Image.Image, list[FaceAnswer]]:
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


def predict_each_face(predictor: Predictor[Any], images: Iterable[ImageFile]) -> Iterator[Answer]:
    """Give an answer for each face of each image; where there is none, or no image, one that says so."""
    detect, model = face_detector(predictor.bundle), predictor.one_face
    for image in images:
        try:
            _, faces = predict_faces(model, detect, image)
        except RejectedImageError as error:
            yield no_answer(image.path, model.model_id, error)
            continue
        yield from (face.answer for face in faces)
        if not faces:
            yield Answer(image.path, None, None, None, "no_face", model.model_id, "no face found")


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


WHOLE_FACE = "the image as one face"
BLANK_SIDE = 96


@dataclass(frozen=True, slots=True)
class Photo:
    """A prepared photo: `scene` uint8 (s, s, 3), `faces` uint8 (n, f, f, 3), and the faces' `sides` (n,) in pixels.

    Where `one_face`, the image is a face: `faces` holds it alone.
    """

    scene: NDArray[np.uint8]
    faces: NDArray[np.uint8]
    sides: NDArray[np.float64]
    one_face: bool


class PhotoPredictor(Predictor[Photo]):
    """A bundle of a face model, a scene model and their fusion, ready to answer. Methods may be called from any thread.

    An image that is one cut-out face is answered by the face model alone.
    """

    def __init__(
        self, bundle: Bundle, *, model_format: str | None = None, limits: Limits = DEFAULT_LIMITS, threads: int = 1
    ) -> None:
        """Load both models. Raises BundleError, also where the bundle has no scene model."""
        if bundle.scene is None:
            raise BundleError(f"{bundle.folder}: holds no scene model")
        self.scene: Scene = bundle.scene
        self.detect = create_detector(self.scene.detection)
        super().__init__(bundle, bundle.model_id, limits)
        self.one_face = ImagePredictor(bundle, model_format=model_format, limits=limits, threads=threads)
        self.run_scene = create_scene_runner(bundle, self.scene.image_size, model_format, threads)

    def prepare_file(self, data: bytes) -> Photo:
        """The whole image and its faces, as in training. Raises RejectedImageError."""
        scene = decode_pixels(data, self.scene.image_size, self.limits, self.scene.fit)  # with all its checks
        return self._prepared(scene, open_upright(data, self.limits))

    def prepare_pixels(self, pixels: NDArray[np.uint8]) -> Photo:
        image = Image.fromarray(pixels)
        scene = np.asarray(prepare_image(image, self.scene.image_size, self.scene.fit))
        return self._prepared(scene, upright_image(image))

    def blank(self) -> Photo:
        return self.prepare_pixels(np.zeros((BLANK_SIDE, BLANK_SIDE, 3), np.uint8))

    def _prepared(self, scene: NDArray[np.uint8], upright: Image.Image) -> Photo:
        size = self.bundle.image_size
        if is_face_crop(upright, size):
            whole = np.asarray(prepare_image(upright, size))
            return Photo(scene, whole[None], np.array([float(min(upright.size))]), one_face=True)
        boxes = self.detect.faces(upright)
        crops = [np.asarray(prepare_image(self.detect.crop(upright, box), size)) for box in boxes]
        faces = np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8)
        return Photo(scene, faces, np.array([float(box.side) for box in boxes]), one_face=False)

    def evidence(self, photos: list[Photo]) -> list[Evidence]:
        """Give both models' answers to each of some photos."""
        faces = log_odds(self.one_face.run(np.concatenate([photo.faces for photo in photos])))
        scenes = log_odds(self.run_scene(np.stack([photo.scene for photo in photos])))
        ends = np.cumsum([len(photo.faces) for photo in photos])
        return [
            Evidence(own, photo.sides, float(scene))
            for own, photo, scene in zip(np.split(faces, ends[:-1]), photos, scenes, strict=True)
        ]

    def evaluate(self, prepared: list[Photo]) -> list[Prediction]:
        return [self._say(photo, found) for photo, found in zip(prepared, self.evidence(prepared), strict=True)]

    def _say(self, photo: Photo, found: Evidence) -> Prediction:
        if photo.one_face:
            probability = float(self.bundle.calibrated(sigmoid(found.faces[0])))
            return Prediction(self.bundle.label(probability), probability, WHOLE_FACE)
        probability = self.scene.fusion.probability(found)
        return Prediction(self.bundle.fused_label(probability), probability, describe_faces(len(photo.faces)))

    @property
    def threshold(self) -> float:
        return self.scene.fusion.threshold

    def shown(self, image: ImageFile) -> Image.Image:
        """The upright image with each face boxed and what its own model says of it. Raises RejectedImageError."""
        return draw_faces(*predict_faces(self.one_face, self.detect, image), self.bundle.class_names)

    def explained(self, image: ImageFile) -> EvidenceMapInputs:
        """Map what speaks for the answer in the whole image, its faces being as they are; or in the one face."""
        photo = self.prepare_file(image.read(self.limits))
        if photo.one_face:
            return EvidenceMapInputs(photo.faces[0], self.one_face.probabilities, self.bundle.threshold)
        (found,) = self.evidence([photo])

        def probabilities(scenes: NDArray[np.uint8]) -> NDArray[np.float64]:
            said = log_odds(self.run_scene(scenes))
            return np.array([self.scene.fusion.probability(replace(found, scene=float(value))) for value in said])

        return EvidenceMapInputs(photo.scene, probabilities, self.threshold)


def open_predictor(
    bundle: Bundle, *, look_for_faces: bool = True, limits: Limits = DEFAULT_LIMITS
) -> Predictor[NDArray[np.uint8]] | Predictor[Photo]:
    """The predictor of a bundle: both models of one that has a scene, unless faces are not to be looked for; else
    its one model for the whole image. Raises BundleError.
    """
    if bundle.scene and look_for_faces:
        return PhotoPredictor(bundle, limits=limits)
    return ImagePredictor(bundle, limits=limits)
