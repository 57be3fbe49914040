"""What the page says of images, apart from how it is laid out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

from ..data.images import open_upright
from ..data.samples import RejectedImageError
from ..detection.faces import Detector
from ..explanation.saliency import answer_evidence, draw_evidence
from ..reports.pages import data_uri
from ..runtime.outputs import percent
from ..runtime.photos import predict_faces
from ..runtime.predictor import Answer, ImageFile, Predictor
from .corrections import Corrections
from .page_guard import is_upload

DOUBTFUL = 0.75
"""A calibrated confidence below this is marked: about one such answer in three is wrong."""

MAX_IMAGES = 500
THUMBNAIL, SHOWN = 240, 1280


@dataclass(frozen=True)
class PageAnswers:
    """A classifier, and the words, marks and images in which the page shows its answers."""

    classifier: Predictor
    corrections: Corrections
    uploads: Path

    def answer(self, paths: Sequence[str]) -> list[Answer]:
        """Answers for `MAX_IMAGES` files below `uploads` at most, the least sure first, what is no image last."""
        own = [path for path in paths[:MAX_IMAGES] if is_upload(path, self.uploads)]
        answers = self.classifier.answers(map(ImageFile, own))
        return sorted(answers, key=lambda answer: (answer.probability is None, answer.confidence or 0.0))

    def is_doubtful(self, answer: Answer) -> bool:
        """Whether a person should look: the model abstains, or is not sure enough."""
        return answer.confidence is None or answer.confidence < DOUBTFUL

    @property
    def class_names(self) -> tuple[str, str]:
        """Those of 0 and 1."""
        return self.classifier.bundle.class_names

    def caption(self, answer: Answer) -> str:
        """A line under a small image."""
        said = answer.verdict if answer.confidence is None else f"{answer.label} {percent(answer.confidence)}"
        return f"? {said}" if self.is_doubtful(answer) else said

    def panel(self, answer: Answer, name: str, inset: str = "") -> str:
        """HTML that says the answer, how likely each class is, and what that rests on."""
        if answer.probability is None:
            return note(_why_not(answer))
        kind = "unsure" if self.is_doubtful(answer) else f"class{self.class_names.index(answer.label or '')}"
        sure = "" if answer.confidence is None else escape(f"{percent(answer.confidence)} likely")
        doubt = f"<p>{escape(self._doubt(answer))}</p>" if kind == "unsure" else ""
        both = self.classifier.bundle.scene is not None and answer.evidence[:1].isdigit()
        basis = f"{answer.evidence}, and the whole image" if both else answer.evidence
        likely = zip(self.class_names, (1 - answer.probability, answer.probability), strict=True)
        bar = "".join(
            f'<span style="flex-basis:{part:.1%}">{escape(of)} {escape(percent(part))}</span>' for of, part in likely
        )
        return (
            f'<div class="answer {kind}" role="status">{inset}<div><p class="name">{escape(name)}</p>'
            f'<p><strong>{escape(answer.label or answer.verdict)}</strong> <span class="share">{sure}</span></p>'
            f'<div class="bar">{bar}</div>'
            f'<p class="basis">Rests on: {escape(basis)}.</p>{doubt}</div></div>'
        )

    def _doubt(self, answer: Answer) -> str:
        if answer.confidence is None:
            return "Neither is likely enough for an answer: look yourself."
        if answer.confidence < 0.5:
            name = self.class_names[1]
            return (
                f"The other is likelier, but it is {name} only from the model's threshold on, which validation chose."
            )
        return "Less likely than most of its answers: look yourself."

    def images(self, answer: Answer) -> tuple[Image.Image, Image.Image]:
        """The upright image and its evidence map in the same shape. Raises RejectedImageError."""
        image = ImageFile(answer.path)
        upright = self.classifier.shown(image)
        upright.thumbnail((SHOWN, SHOWN))
        pixels, probabilities, threshold = self.classifier.explained(image)
        return upright, draw_evidence(upright, answer_evidence(probabilities, pixels, threshold))

    def thumbnail(self, answer: Answer) -> Image.Image:
        """The upright image, small."""
        upright = open_upright(ImageFile(answer.path).read(self.classifier.limits), self.classifier.limits)
        upright.thumbnail((THUMBNAIL, THUMBNAIL))
        return upright

    def frame(self, data: bytes, detect: Detector | None) -> str:
        """HTML that says the answer for a camera's image: for its largest face, or for all of it."""
        image = ImageFile("camera", data)
        try:
            upright, faces = predict_faces(self.classifier.one_face, detect, image) if detect else (None, [])
        except RejectedImageError as error:
            return note(f"no answer: {error}")
        if upright is None or not faces:
            return self.panel(next(iter(self.classifier.answers([image]))), "the whole image, no face found")
        face = max(faces, key=lambda face: face.box.side)
        box = face.box
        crop = upright.crop((box.left, box.top, box.left + box.side, box.top + box.side)).resize((96, 96))
        return self.panel(face.answer, f"the largest of {len(faces)} faces" if len(faces) > 1 else "face", _inset(crop))

    def summary(self, answers: list[Answer], given: int) -> str:
        """HTML that says what is special among the answers for `given` files."""
        sound = [answer for answer in answers if answer.probability is not None]
        notes = [_why_not(answer) for answer in answers[len(sound) :]]
        if len(sound) > 1:
            doubtful = sum(self.is_doubtful(answer) for answer in sound)
            look = f" Look at the {doubtful} marked with ?." if doubtful else ""
            notes.insert(0, f"{len(sound)} images, the least sure first.{look}")
        if given > MAX_IMAGES:
            notes.append(f"{given - MAX_IMAGES} more were left out: {MAX_IMAGES} are shown at once.")
        return "".join(map(note, notes))


def _why_not(answer: Answer) -> str:
    return f"{os.path.basename(answer.path)}: no answer, {answer.verdict}: {answer.detail}"


def note(text: str) -> str:
    """HTML for one line of text."""
    return f'<p class="note" role="status">{escape(text)}</p>'


def _inset(image: Image.Image) -> str:
    stream = BytesIO()
    image.save(stream, "JPEG")
    source = data_uri(stream.getvalue(), "jpeg")
    return f'<img alt="the face" src="{source}">'
