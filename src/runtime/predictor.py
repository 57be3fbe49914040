"""Images to predict: files, folders and standard input, in a fixed order, or what a program hands over."""

from __future__ import annotations

import base64
import binascii
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.images import DEFAULT_LIMITS, decode_pixels, open_upright, prepare_image
from ..data.locators import FileLocator, is_hidden
from ..data.samples import Limits, RejectedImageError
from ..errors import DataError
from ..system import return_freed_memory, usable_cores
from .bundle import UNSURE, Bundle
from .runners import create_runner

STDIN = "-"
PIXEL_DIMENSIONS = 3


@dataclass(frozen=True, slots=True)
class ImageFile:
    """Something to predict: `path` as it is shown; the bytes are read when its turn comes, but for standard input."""

    path: str
    data: bytes | None = None

    def read(self, limits: Limits = DEFAULT_LIMITS) -> bytes:
        """The file's bytes, one more than the limit at most. Raises RejectedImageError."""
        if self.data is not None:
            return self.data
        try:
            return FileLocator(self.path, 0, 0).read(limits.bytes + 1)
        except OSError as error:
            raise RejectedImageError("unreadable", error.strerror or str(error)) from None


def list_images(paths: Sequence[str], *, recursive: bool) -> list[ImageFile]:
    """The images that `paths` name, in their order; of a folder every file that is not hidden, sorted by path.

    Folders inside a folder are entered only with `recursive`, links to folders never. Raises DataError for a path that
    is not there.
    """
    found: list[ImageFile] = []
    for path in paths:
        if path == STDIN:
            found.append(ImageFile(STDIN, sys.stdin.buffer.read(DEFAULT_LIMITS.bytes + 1)))
        elif os.path.isdir(path):
            found += [ImageFile(file) for file in sorted(_files(path, recursive))]
        elif os.path.exists(path) and not os.path.isfile(path):
            raise DataError(f"{path}: neither a file nor a folder")
        elif os.path.exists(path):
            found.append(ImageFile(path))
        else:
            raise DataError(f"{path}: no such file or folder")
    if not found:
        raise DataError(f"{', '.join(paths)}: no images found; --recursive looks into folders inside folders too")
    return found


def _files(folder: str, recursive: bool) -> Iterator[str]:
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except OSError as error:
            raise DataError(f"{place}: {error.strerror or error}") from None
        for entry in entries:
            if not is_hidden(entry.name):
                if _is_file(entry):
                    yield os.fspath(Path(entry.path))
                elif recursive and entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # such as a link to itself, which gets a verdict of its own
        return True


def single_inputs(value: Any) -> Iterable[Any]:
    """The images in one value: MLflow hands over a JSON list of texts, or pixels of four dimensions, as one."""
    first, depth = value, 0
    while isinstance(first, list | np.ndarray) and len(first) and depth < PIXEL_DIMENSIONS:
        first, depth = first[0], depth + 1
    many = isinstance(first, list | np.ndarray) or (depth == 1 and isinstance(first, str | bytes))
    return value if depth and many else [value]


def decode_base64(text: str) -> bytes:
    """The bytes that a text of base64, white space apart, stands for. Raises RejectedImageError."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RejectedImageError("unreadable", "text that is no base64") from None


def as_pixels(value: Any) -> NDArray[np.uint8]:
    """An array or nested list of numbers from 0 to 255, (height, width, 3) RGB or (height, width) gray, as uint8.

    Raises RejectedImageError for anything else. Fractions that end at 1 are rejected, not taken for a black image:
    the model wants 0 to 255.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise RejectedImageError("unreadable", "rows of different lengths") from None
    if array.dtype.kind not in "uif" or array.size == 0 or not (array.ndim == 2 or array.shape[2:] == (3,)):
        found = f"{array.dtype} {array.shape}"
        raise RejectedImageError("unreadable", f"{found}: numbers (height, width, 3) or (height, width) are wanted")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise RejectedImageError("unreadable", "pixels outside 0 to 255")
    if array.max() <= 1 and (array % 1).any():
        raise RejectedImageError("unreadable", "pixels from 0 to 1: multiply them by 255")
    return np.rint(array).astype(np.uint8)


BATCH_SIZE = 32
BATCHES_AHEAD = 2
WHOLE_IMAGE = "whole image"

Pixels = TypeVar("Pixels")
"""What an image is prepared to."""

Prepared: TypeAlias = "Pixels | RejectedImageError"


AnswerVerdict = Literal["ok", "unsure", "no_face", "unreadable"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one image. `probability` is that of class 1, and `evidence` what it rests on.

    `verdict` is `ok` where there is a `label`, a class name, of which `confidence` is the calibrated probability; it is
    `unsure` where neither class is likely enough. There is no probability where it is `no_face`, as only faces were to
    be evaluated, or `unreadable`; `detail` says why.
    """

    path: str
    label: str | None
    probability: float | None
    confidence: float | None
    verdict: AnswerVerdict
    model: str
    detail: str = ""
    evidence: str = ""

    def fields(self, class_names: Sequence[str]) -> dict[str, str | float | None]:
        """The answer by `answer_fields`: its form wherever it leaves the program."""
        said = (self.path, self.label, self.probability, self.confidence, self.verdict)
        return dict(zip(answer_fields(class_names), (*said, self.detail, self.evidence, self.model), strict=True))


def answer_fields(class_names: Sequence[str]) -> tuple[str, ...]:
    """The names of an answer's fields; P(class 1) is named for that class, as in `p_happy`."""
    return ("path", "label", f"p_{class_names[1]}", "confidence", "verdict", "detail", "evidence", "model")


def no_answer(path: str, model: str, error: RejectedImageError) -> Answer:
    """Answer a file that holds no sound image, or no face where one was looked for."""
    if error.verdict == "no_face":
        return Answer(path, None, None, None, "no_face", model, error.detail)
    detail = error.detail if error.verdict == "unreadable" else str(error)
    return Answer(path, None, None, None, "unreadable", model, detail)


class Prediction(NamedTuple):
    """Label or `unsure`, P(class 1) and what they rest on, for one image."""

    label: str
    probability: float
    evidence: str


class EvidenceMapInputs(NamedTuple):
    """Prepared pixels, uint8 (size, size, 3); what gives P(class 1) of some of their kind; the threshold of answers."""

    pixels: NDArray[np.uint8]
    probabilities: Callable[[NDArray[np.uint8]], NDArray[np.float64]]
    threshold: float


class Predictor(Generic[Pixels]):
    """Answers by any way to prepare an image and to evaluate some of them. Methods may be called from any thread."""

    one_face: ImagePredictor
    """What answers for an image, or a part of one, that is a face."""

    def __init__(self, bundle: Bundle, model_id: str, limits: Limits) -> None:
        return_freed_memory()  # before there are threads that decode
        self.bundle = bundle
        self.model_id = model_id
        self.limits = limits

    def prepare_file(self, data: bytes) -> Pixels:
        """Read what the models need of a file. Raises RejectedImageError."""
        raise NotImplementedError

    def prepare_pixels(self, pixels: NDArray[np.uint8]) -> Pixels:
        """The same of pixels, (height, width, 3) or (height, width). Raises RejectedImageError."""
        raise NotImplementedError

    def blank(self) -> Pixels:
        """A black image, prepared: to see that the models answer."""
        raise NotImplementedError

    def evaluate(self, prepared: list[Pixels]) -> list[Prediction]:
        """Answer each of some prepared images."""
        raise NotImplementedError

    @property
    def threshold(self) -> float:
        """The probability from which on the answer is class 1."""
        return self.bundle.threshold

    def shown(self, image: ImageFile) -> Image.Image:
        """The upright image, with what was found in it. Raises RejectedImageError."""
        return open_upright(image.read(self.limits), self.limits)

    def explained(self, image: ImageFile) -> EvidenceMapInputs:
        """Compute what an evidence map of the image is made from. Raises RejectedImageError."""
        raise NotImplementedError

    def prepare(self, image: ImageFile) -> Prepared[Pixels]:
        """Prepare an image for the models; or say why it cannot be."""
        try:
            return self.prepare_file(image.read(self.limits))
        except RejectedImageError as error:
            return error

    def answers(self, images: Iterable[ImageFile]) -> Iterator[Answer]:
        """One answer for each image, in order. Only a few batches are in memory at once."""
        batches = _batches(images, BATCH_SIZE)
        first = next(batches, [])
        if len(first) == 1:  # starting threads would take longer
            yield from self.answer(first, [self.prepare(first[0])])
            return
        Image.init()  # Pillow loads its formats at first use, which threads must not do at once
        with ThreadPoolExecutor(len(usable_cores())) as pool:
            waiting: deque[tuple[list[ImageFile], list[Future[Prepared[Pixels]]]]] = deque()
            for batch in chain([first] if first else [], batches):
                waiting.append((batch, [pool.submit(self.prepare, image) for image in batch]))
                if len(waiting) > BATCHES_AHEAD:
                    yield from self._finish(*waiting.popleft())
            while waiting:
                yield from self._finish(*waiting.popleft())

    def answer(self, images: list[ImageFile], prepared: list[Prepared[Pixels]]) -> list[Answer]:
        """Answers for one batch of images and what `prepare` made of them."""
        sound = [found for found in prepared if not isinstance(found, RejectedImageError)]
        said = iter(self.evaluate(sound) if sound else [])
        answers = []
        for image, found in zip(images, prepared, strict=True):
            if isinstance(found, RejectedImageError):
                answers.append(no_answer(image.path, self.model_id, found))
                continue
            label, probability, evidence = next(said)
            if label == UNSURE:
                answers.append(Answer(image.path, None, probability, None, "unsure", self.model_id, "", evidence))
                continue
            confidence = probability if label == self.bundle.class_names[1] else 1 - probability
            answers.append(Answer(image.path, label, probability, confidence, "ok", self.model_id, "", evidence))
        return answers

    def answer_inputs(self, values: Iterable[Any]) -> Iterator[Answer]:
        """Answers for images as a program sends them: a file's bytes, the same as base64 text, or pixels.

        Their paths count from 0. One input that cannot be used gets its verdict, the rest go on.
        """
        numbered = enumerate(single for value in values for single in single_inputs(value))
        while batch := list(islice(numbered, BATCH_SIZE)):
            prepared = [self._prepare_input(value) for _, value in batch]
            yield from self.answer([ImageFile(str(place)) for place, _ in batch], prepared)

    def _prepare_input(self, value: Any) -> Prepared[Pixels]:
        try:
            data = decode_base64(value) if isinstance(value, str) else value
            if isinstance(data, bytes):
                return self.prepare(ImageFile("input", data))
            return self.prepare_pixels(as_pixels(data))
        except RejectedImageError as error:
            return error

    def _finish(self, images: list[ImageFile], futures: list[Future[Prepared[Pixels]]]) -> list[Answer]:
        return self.answer(images, [future.result() for future in futures])


class ImagePredictor(Predictor[NDArray[np.uint8]]):
    """A bundle's one model, or its face model, ready to answer for whole images."""

    def __init__(
        self, bundle: Bundle, *, model_format: str | None = None, limits: Limits = DEFAULT_LIMITS, threads: int = 1
    ) -> None:
        """Load the bundle's model. `threads` are those of one batch. Raises BundleError."""
        super().__init__(bundle, bundle.model_id + ("/one_face" if bundle.scene else ""), limits)
        self.run = create_runner(bundle, model_format, threads)
        self.one_face = self

    def prepare_file(self, data: bytes) -> NDArray[np.uint8]:
        """Pixels, uint8 (size, size, 3), as in training. Raises RejectedImageError."""
        return decode_pixels(data, self.bundle.image_size, self.limits, self.bundle.fit)

    def prepare_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(prepare_image(Image.fromarray(pixels), self.bundle.image_size, self.bundle.fit))

    def blank(self) -> NDArray[np.uint8]:
        return np.zeros((self.bundle.image_size, self.bundle.image_size, 3), np.uint8)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Calibrated P(class 1), float64 (n,), of prepared images, uint8 (n, size, size, 3)."""
        return self.bundle.calibrated(self.run(images))

    def explained(self, image: ImageFile) -> EvidenceMapInputs:
        return EvidenceMapInputs(self.prepare_file(image.read(self.limits)), self.probabilities, self.threshold)

    def evaluate(self, prepared: list[NDArray[np.uint8]]) -> list[Prediction]:
        probabilities = self.probabilities(np.stack(prepared)).tolist()
        return [Prediction(self.bundle.label(found), found, WHOLE_IMAGE) for found in probabilities]


def _batches(images: Iterable[ImageFile], size: int) -> Iterator[list[ImageFile]]:
    iterator = iter(images)
    while batch := list(islice(iterator, size)):
        yield batch
