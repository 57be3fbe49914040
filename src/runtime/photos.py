"""Answers for photos: faces are found and judged by one model, the whole image by another, and both are fused."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.images import DEFAULT_LIMITS, Limits, decode_pixels, open_checked, prepare_image, upright_image
from ..detection.cut_out import is_cut_out_face
from ..detection.detectors import Box, Detection, Detector, create_detector
from ..errors import BundleError
from ..metrics.log_odds import log_odds, sigmoid
from .bundle import Bundle, Scene
from .classifier import Answering, Classifier, Explained, Said
from .faces import classify_faces, draw_faces
from .fusion import Evidence, describe_faces
from .image_files import ImageFile
from .runners import create_scene_runner

WHOLE_FACE = "the image as one face"
BLANK_SIDE = 96
NOT_LOOKED_FOR = "whole image, faces not looked for"


@dataclass(frozen=True, slots=True)
class Photo:
    """A prepared photo: `scene` uint8 (s, s, 3), `faces` uint8 (n, f, f, 3), and the faces' `sides` (n,) in pixels.

    Where `one_face`, the image is a face: `faces` holds it alone.
    """

    scene: NDArray[np.uint8]
    faces: NDArray[np.uint8]
    sides: NDArray[np.float64]
    one_face: bool


class PhotoClassifier(Answering[Photo]):
    """A bundle of a face model, a scene model and their fusion, ready to answer. Methods may be called from any thread.

    An image that is one cut-out face is answered by the face model alone. Where the detector's library is missing no
    faces are found, which one line on stderr says.
    """

    def __init__(
        self, bundle: Bundle, *, model_format: str | None = None, limits: Limits = DEFAULT_LIMITS, threads: int = 1
    ) -> None:
        """Load both models. Raises BundleError, also where the bundle has no scene model."""
        if bundle.scene is None:
            raise BundleError(f"{bundle.folder}: holds no scene model")
        self.scene: Scene = bundle.scene
        self.detect = _detector(self.scene.detection)
        super().__init__(bundle, bundle.model_id + ("" if self.detect else "/no_faces"), limits)
        self.one_face = Classifier(bundle, model_format=model_format, limits=limits, threads=threads)
        self.run_scene = create_scene_runner(bundle, self.scene.image_size, model_format, threads)

    def prepare_file(self, data: bytes) -> Photo:
        """The whole image and its faces, as in training. Raises RejectedImageError."""
        scene = decode_pixels(data, self.scene.image_size, self.limits, self.scene.fit)  # with all its checks
        return self._prepared(scene, open_checked(data))

    def prepare_pixels(self, pixels: NDArray[np.uint8]) -> Photo:
        image = Image.fromarray(pixels)
        scene = np.asarray(prepare_image(image, self.scene.image_size, self.scene.fit))
        return self._prepared(scene, upright_image(image))

    def blank(self) -> Photo:
        return self.prepare_pixels(np.zeros((BLANK_SIDE, BLANK_SIDE, 3), np.uint8))

    def _prepared(self, scene: NDArray[np.uint8], upright: Image.Image) -> Photo:
        size = self.bundle.image_size
        if is_cut_out_face(upright, size):
            whole = np.asarray(prepare_image(upright, size))
            return Photo(scene, whole[None], np.array([float(min(upright.size))]), one_face=True)
        boxes: list[Box] = []
        crops: list[NDArray[np.uint8]] = []
        if self.detect:
            boxes = self.detect.faces(upright)
            crops = [np.asarray(prepare_image(self.detect.crop(upright, box), size)) for box in boxes]
        faces = np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8)
        return Photo(scene, faces, np.array([float(box.side) for box in boxes]), one_face=False)

    def evidence(self, photos: list[Photo]) -> list[Evidence]:
        """What both models say of each of some photos."""
        faces = log_odds(self.one_face.run(np.concatenate([photo.faces for photo in photos])))
        scenes = log_odds(self.run_scene(np.stack([photo.scene for photo in photos])))
        ends = np.cumsum([len(photo.faces) for photo in photos])
        return [
            Evidence(own, photo.sides, float(scene))
            for own, photo, scene in zip(np.split(faces, ends[:-1]), photos, scenes, strict=True)
        ]

    def evaluate(self, prepared: list[Photo]) -> list[Said]:
        return [self._say(photo, found) for photo, found in zip(prepared, self.evidence(prepared), strict=True)]

    def _say(self, photo: Photo, found: Evidence) -> Said:
        if photo.one_face:
            probability = float(self.bundle.calibrated(sigmoid(found.faces[0])))
            return Said(self.bundle.label(probability), probability, WHOLE_FACE)
        probability = self.scene.fusion.probability(found)
        evidence = describe_faces(len(photo.faces)) if self.detect else NOT_LOOKED_FOR
        return Said(self.bundle.fused_label(probability), probability, evidence)

    @property
    def threshold(self) -> float:
        return self.scene.fusion.threshold

    def shown(self, image: ImageFile) -> Image.Image:
        """The upright image with each face boxed and what its own model says of it. Raises RejectedImageError."""
        if self.detect is None:
            return super().shown(image)
        return draw_faces(*classify_faces(self.one_face, self.detect, image), self.bundle.class_names)

    def explained(self, image: ImageFile) -> Explained:
        """What speaks for the answer in the whole image, its faces being as they are; or in the one face."""
        photo = self.prepare_file(image.read(self.limits))
        if photo.one_face:
            return Explained(photo.faces[0], self.one_face.probabilities, self.bundle.threshold)
        (found,) = self.evidence([photo])

        def probabilities(scenes: NDArray[np.uint8]) -> NDArray[np.float64]:
            said = log_odds(self.run_scene(scenes))
            return np.array([self.scene.fusion.probability(replace(found, scene=float(value))) for value in said])

        return Explained(photo.scene, probabilities, self.threshold)


def open_classifier(
    bundle: Bundle, *, look_for_faces: bool = True, limits: Limits = DEFAULT_LIMITS
) -> Answering[NDArray[np.uint8]] | Answering[Photo]:
    """What answers with a bundle: both models of one that has a scene, unless faces are not to be looked for; else
    its one model for the whole image. Raises BundleError.
    """
    if bundle.scene and look_for_faces:
        return PhotoClassifier(bundle, limits=limits)
    return Classifier(bundle, limits=limits)


def _detector(settings: Detection) -> Detector | None:
    try:
        return create_detector(settings)
    except BundleError as error:
        print(f"warning: no faces are looked for: {error}", file=sys.stderr)
        return None
