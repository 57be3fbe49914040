"""The bundle: one folder that holds all that using a model takes, checked before anything of it is used.

A bundle is data. Its file names come from a closed set, every file is checked against its hash, and nothing in it is
ever run: model files are read by LiteRT, by ONNX Runtime, or by Keras in safe mode.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import AfterValidator, ConfigDict, Field, Strict, ValidationError
from pydantic.dataclasses import dataclass

from ..config import shell_command
from ..data.locators import FileLocator
from ..data.samples import FitMode
from ..detection.faces import Detection
from ..errors import BundleError
from ..metrics.log_odds import apply_temperature, sigmoid

SCHEMA_VERSION = 1

MANIFEST, CARD = "bundle.json", "model_card.md"
MODEL_FILES = {
    "keras": "model.keras",
    "litert": "model.tflite",
    "int8": "model_int8.tflite",
    "onnx": "model.onnx",
}
"""Format -> file name; that of a scene model stands behind `SCENE_PREFIX`."""

SCENE_PREFIX = "scene_"

PREPARATION = "rgb-stretch-bilinear-uint8"
"""The name of what `src.data.images.decode_pixels` does; a bundle made for another preparation is rejected."""

UNSURE, REJECTED = "unsure", "rejected"
RESERVED_NAMES = {UNSURE, REJECTED}
"""What an image is sorted under that has no class."""

_MAX_MANIFEST_BYTES = 1_000_000


def _class_names(names: tuple[str, str]) -> tuple[str, str]:
    # They become folders (--sort-into), so they may lead nowhere else, and stand in tables, where no formula is wanted.
    if names[0] == names[1] or not all(re.fullmatch(r"[^\W_][\w-]*", name) for name in names):
        raise ValueError("not two names that a folder can have")
    if {*names} & RESERVED_NAMES:
        raise ValueError("names that answers have already")
    return names


def _ascending(band: tuple[float, float] | None) -> tuple[float, float] | None:
    if band and not 0 <= band[0] <= band[1] <= 1:
        raise ValueError("not ascending")
    return band


def _known(formats: tuple[str, ...]) -> tuple[str, ...]:
    if not formats or len(set(formats)) != len(formats) or not set(formats) <= set(MODEL_FILES):
        raise ValueError("not a choice of formats")
    return formats


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not one line of text")
    return text


_Number = Annotated[float, Strict()]
_Line = Annotated[str, AfterValidator(_printable), Field(min_length=1, description="text of one line")]
_Fit = Annotated[FitMode, Field(description="stretch, crop, pad or face")]
_ImageSize = Annotated[int, Strict(), Field(ge=8, le=1024, description="a whole number from 8 to 1024")]
_Threshold = Annotated[_Number, Field(ge=0, le=1, description="a number, at least 0 and at most 1")]
_Temperature = Annotated[_Number, Field(ge=1e-3, le=1e3, description="a number, at least 0.001 and at most 1000")]
_ClassNames = Annotated[
    tuple[str, str],
    AfterValidator(_class_names),
    Field(description="two different names of letters, digits, - and _, none of them unsure or rejected"),
]
_Band = Annotated[
    tuple[_Number, _Number] | None,
    AfterValidator(_ascending),
    Field(description="null or two ascending probabilities"),
]
_Interval = Annotated[list[_Number], Field(min_length=3, max_length=3)]
_Scores = Annotated[dict[str, dict[str, _Interval]], Field(description="value, low and high by split and name")]
_Formats = Annotated[tuple[str, ...], AfterValidator(_known), Field(description=f"some of {', '.join(MODEL_FILES)}")]


Joining = Literal["largest", "mean"]
_Probability = Annotated[_Number, Field(ge=0, le=1)]


@plain_dataclass(frozen=True, slots=True)
class Evidence:
    """Answers of the models to one image, in log-odds of class 1: `faces` (n,) of the faces, whose sides in pixels are
    `sides` (n,), and `scene` of the whole image.
    """

    faces: NDArray[np.float64]
    sides: NDArray[np.float64]
    scene: float


@dataclass(frozen=True, kw_only=True, config=ConfigDict(allow_inf_nan=False))
class Fusion:
    """A logistic model on log-odds for images in which a face is found, and one for those in which none is.

    `with_faces` is intercept, weight of the joined faces and weight of the scene; `without_faces` intercept and weight
    of the scene. `joining` says how several faces become one number. `threshold` and `abstain` (low, high) count on the
    fused probability.
    """

    joining: Joining
    with_faces: tuple[_Number, _Number, _Number]
    without_faces: tuple[_Number, _Number]
    threshold: _Probability = 0.5
    abstain: tuple[_Probability, _Probability] | None = None

    def probability(self, evidence: Evidence) -> float:
        """The fused P(class 1)."""
        if evidence.faces.size == 0:
            intercept, scene = self.without_faces
            return float(sigmoid(intercept + scene * evidence.scene))
        intercept, face, scene = self.with_faces
        joined = combine_faces(evidence.faces, evidence.sides, self.joining)
        return float(sigmoid(intercept + face * joined + scene * evidence.scene))


def combine_faces(log_odds: ArrayLike, sides: ArrayLike, joining: Joining) -> float:
    """One number for several faces: the log-odds of the largest, or the mean of all weighted by their areas."""
    values, widths = np.asarray(log_odds, dtype=np.float64), np.asarray(sides, dtype=np.float64)
    if joining == "largest":
        return float(values[np.argmax(widths)])
    return float(np.average(values, weights=widths**2))


def describe_faces(count: int) -> str:
    """Name the evidence of an answer, where faces were looked for."""
    if count == 0:
        return "whole image, no face found"
    return f"{count} face" + "s" * (count > 1)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(allow_inf_nan=False))
class Scene:
    """A second model, for whole images, in the formats of the first, how faces are found, and how both models are
    fused into one answer.
    """

    image_size: _ImageSize
    fit: _Fit = "stretch"
    dataset_digest: _Line
    run_id: _Line | None = None
    fusion: Fusion
    detection: Detection


@dataclass(frozen=True, kw_only=True, config=ConfigDict(allow_inf_nan=False))
class Bundle:
    """A checked bundle. `class_names` are those of 0 and 1; the model gives P(class 1).

    With a `scene`, the model is one for faces, and what is said of a photo is fused from both; `threshold`,
    `temperature` and `abstain` then count for an image that is one face.

    `fit` says how an image becomes a square of `image_size` pixels. `threshold` and `abstain` (low, high) count on the
    calibrated probability. `scores` holds, for each evaluated split and score, value, low and high. `formats` stand in
    the order in which they are preferred, the fastest float first. `files` maps file names to SHA-256. Making one of
    other values raises pydantic's ValidationError.
    """

    folder: Path
    name: _Line
    class_names: _ClassNames
    image_size: _ImageSize
    fit: _Fit = "stretch"
    threshold: _Threshold
    temperature: _Temperature
    abstain: _Band = None
    dataset_digest: _Line
    scores: _Scores
    run_id: _Line | None = None
    formats: _Formats
    scene: Scene | None = Field(None, description="null, or the size, data, run and fusion of a scene model")
    files: dict[str, str] = Field(repr=False, description="a SHA-256 for each file")

    @property
    def model_id(self) -> str:
        """The bundle's name and the start of a digest over all that decides its answers."""
        decisive = [self.threshold, self.temperature, self.abstain, self.class_names, self.files, self.fit]
        text = json.dumps([*decisive, asdict(self.scene) if self.scene else None])
        return f"{self.name}@{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def model_file(self, model_format: str) -> Path:
        """The file of one of `formats`."""
        return self.folder / MODEL_FILES[model_format]

    def scene_file(self, model_format: str) -> Path:
        """The scene model's file of one of `formats`."""
        return self.folder / (SCENE_PREFIX + MODEL_FILES[model_format])

    def file_names(self) -> list[str]:
        """The files that a bundle of these formats consists of, but for the manifest."""
        models = [MODEL_FILES[name] for name in self.formats]
        return [*models, *(SCENE_PREFIX + name for name in models if self.scene), CARD]

    def card(self) -> str:
        """The model card, in Markdown."""
        return (self.folder / CARD).read_text(encoding="utf-8")

    def calibrated(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Probabilities with their log-odds divided by the temperature; the model's own are kept 1e-7 off 0 and 1."""
        return apply_temperature(probabilities, self.temperature)

    def label(self, probability: float) -> str:
        """The class of a calibrated probability, or `unsure` inside the abstain band."""
        return self._label(probability, self.threshold, self.abstain)

    def fused_label(self, probability: float) -> str:
        """The class of a probability that the scene's fusion gave, or `unsure` inside the fusion's band."""
        assert self.scene is not None  # noqa: S101  (for the type checker)
        return self._label(probability, self.scene.fusion.threshold, self.scene.fusion.abstain)

    def _label(self, probability: float, threshold: float, abstain: tuple[float, float] | None) -> str:
        if abstain and abstain[0] < probability < abstain[1]:
            return UNSURE
        return self.class_names[int(probability >= threshold)]


def write_manifest(bundle: Bundle) -> Bundle:
    """Hash the files in the bundle's folder and write `bundle.json` beside them; the bundle with those hashes."""
    hashes = {name: _sha256(bundle.folder / name) for name in bundle.file_names()}
    stored = {**asdict(bundle), "files": hashes, "schema": SCHEMA_VERSION, "preparation": PREPARATION}
    del stored["folder"]
    (bundle.folder / MANIFEST).write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    return open_bundle(bundle.folder)


def open_bundle(folder: Path) -> Bundle:
    """Read and check the bundle in `folder`: schema, values and the hash of every file. Raises BundleError."""
    bundle = create_bundle(folder, **_manifest(folder))
    if set(bundle.files) != set(bundle.file_names()):
        raise BundleError(f"{folder}: {MANIFEST} lists other files than its formats need; export the model again")
    for name, expected in bundle.files.items():
        if not (folder / name).is_file() or _sha256(folder / name) != expected:
            raise BundleError(f"{folder / name}: missing or changed since the export; export the model again")
    return bundle


def create_bundle(folder: Path, **values: Any) -> Bundle:
    """A bundle of these values, its files not looked at. Raises BundleError, which names the first wrong value."""
    try:
        return Bundle(**{**values, "folder": folder})
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        accepts = Bundle.__pydantic_fields__[key].description or "text of one line"  # type: ignore[attr-defined]
        raise BundleError(f"{MANIFEST}: {key}={reprlib.repr(values.get(key))}: accepts {accepts}") from None


def _manifest(folder: Path) -> Mapping[str, Any]:
    try:
        stored = json.loads(FileLocator(str(folder / MANIFEST), 0, 0).read(_MAX_MANIFEST_BYTES))
    except OSError as error:
        reason = error.strerror or error
        raise BundleError(f"{folder}: no bundle ({MANIFEST}: {reason}); {shell_command('export')} makes one") from None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{folder / MANIFEST}: no valid JSON ({error})") from None
    found = stored.get("schema") if isinstance(stored, dict) else None
    if found != SCHEMA_VERSION:
        raise BundleError(f"{folder / MANIFEST}: schema {found!r}, this version reads {SCHEMA_VERSION}; export again")
    if stored.get("preparation") != PREPARATION:
        raise BundleError(f"{folder / MANIFEST}: made for images prepared in another way; export the model again")
    return stored


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def finite_scores(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Scores of an evaluated run as a bundle keeps them; those that are not defined are left out."""
    return {
        split: {
            name: [score.value, score.low, score.high]
            for name, score in named.items()
            if all(map(math.isfinite, (score.value, score.low, score.high)))
        }
        for split, named in scores.items()
    }
