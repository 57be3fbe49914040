"""The bundle: one folder that holds all that using a model takes, checked before anything of it is used.

A bundle is data. Its file names come from a closed set, every file is checked against its hash, and nothing in it is
ever run: model files are read by LiteRT, by ONNX Runtime, or by Keras in safe mode.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import BundleError
from ..metrics.log_odds import apply_temperature

SCHEMA_VERSION = 1
MANIFEST, CARD = "bundle.json", "model_card.md"
MODEL_FILES = {
    "keras": "model.keras",
    "litert": "model.tflite",
    "int8": "model_int8.tflite",
    "onnx": "model.onnx",
}
"""Format -> file name."""

PREPARATION = "rgb-stretch-bilinear-uint8"
"""The name of what `src.data.images.decode_image` does; a bundle made for another preparation is rejected."""

_MAX_MANIFEST_BYTES = 1_000_000


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. `class_names` are those of 0 and 1; the model gives P(class 1).

    `threshold` and `abstain` (low, high) count on the calibrated probability. `scores` holds, for each evaluated split
    and score, value, low and high. `formats` stand in the order in which they are preferred, the fastest float first.
    `files` maps file names to SHA-256.
    """

    folder: Path
    name: str
    class_names: tuple[str, str]
    image_size: int
    threshold: float
    temperature: float
    abstain: tuple[float, float] | None
    dataset_digest: str
    scores: dict[str, dict[str, list[float]]]
    run_id: str | None
    formats: tuple[str, ...]
    files: dict[str, str] = field(repr=False)

    @property
    def model_id(self) -> str:
        """The bundle's name and the start of a digest over all that decides its answers."""
        described = json.dumps([self.threshold, self.temperature, self.abstain, self.class_names, self.files])
        return f"{self.name}@{hashlib.sha256(described.encode()).hexdigest()[:12]}"

    def model_file(self, model_format: str) -> Path:
        """The file of one of `formats`."""
        return self.folder / MODEL_FILES[model_format]

    def card(self) -> str:
        """The model card, in Markdown."""
        return (self.folder / CARD).read_text(encoding="utf-8")

    def calibrated(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Probabilities with their log-odds divided by the temperature; the model's own are kept 1e-7 off 0 and 1."""
        return apply_temperature(probabilities, self.temperature)

    def label(self, probability: float) -> str:
        """The class of a calibrated probability, or `unsure` inside the abstain band."""
        if self.abstain and self.abstain[0] < probability < self.abstain[1]:
            return "unsure"
        return self.class_names[int(probability >= self.threshold)]


def write_manifest(bundle: Bundle) -> Bundle:
    """Hash the files in the bundle's folder and write `bundle.json` beside them; the bundle with those hashes."""
    names = [MODEL_FILES[name] for name in bundle.formats] + [CARD]
    hashes = {name: _sha256(bundle.folder / name) for name in names}
    stored = {**asdict(bundle), "files": hashes, "schema": SCHEMA_VERSION, "preparation": PREPARATION}
    del stored["folder"]
    (bundle.folder / MANIFEST).write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    return open_bundle(bundle.folder)


def open_bundle(folder: Path) -> Bundle:
    """Read and check the bundle in `folder`: schema, values and the hash of every file. Raises BundleError."""
    stored = _manifest(folder)
    bundle = Bundle(
        folder=folder,
        name=_text(stored, "name"),
        class_names=_class_names(stored),
        image_size=_number(stored, "image_size", int, 8, 1024),
        threshold=_number(stored, "threshold", float, 0, 1),
        temperature=_number(stored, "temperature", float, 1e-3, 1e3),
        abstain=_band(stored),
        dataset_digest=_text(stored, "dataset_digest"),
        scores=_scores(stored),
        run_id=None if stored.get("run_id") is None else _text(stored, "run_id"),
        formats=_formats(stored),
        files=_files(stored),
    )
    wanted = {MODEL_FILES[name] for name in bundle.formats} | {CARD}
    if set(bundle.files) != wanted:
        raise BundleError(f"{folder}: {MANIFEST} lists other files than its formats need; export the model again")
    for name, expected in bundle.files.items():
        if not (folder / name).is_file() or _sha256(folder / name) != expected:
            raise BundleError(f"{folder / name}: missing or changed since the export; export the model again")
    return bundle


def _manifest(folder: Path) -> Mapping[str, Any]:
    try:
        with (folder / MANIFEST).open("rb") as file:
            stored = json.loads(file.read(_MAX_MANIFEST_BYTES))
    except OSError as error:
        raise BundleError(
            f"{folder}: no bundle ({MANIFEST}: {error.strerror}); python -m src.export makes one"
        ) from None
    except ValueError as error:
        raise BundleError(f"{folder / MANIFEST}: no valid JSON ({error})") from None
    if not isinstance(stored, dict) or stored.get("schema") != SCHEMA_VERSION:
        found = stored.get("schema") if isinstance(stored, dict) else None
        raise BundleError(f"{folder / MANIFEST}: schema {found!r}, this version reads {SCHEMA_VERSION}; export again")
    if stored.get("preparation") != PREPARATION:
        raise BundleError(f"{folder / MANIFEST}: made for pictures prepared in another way; export the model again")
    return stored


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _wrong(key: str, value: object, wanted: str) -> BundleError:
    return BundleError(f"{MANIFEST}: {key}={value!r}: accepts {wanted}")


def _text(stored: Mapping[str, Any], key: str) -> str:
    value = stored.get(key)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _wrong(key, value, "text of one line")
    return value


def _number(stored: Mapping[str, Any], key: str, kind: type, low: float, high: float) -> Any:
    value = stored.get(key)
    allowed = int if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed) or not low <= value <= high:
        raise _wrong(key, value, f"a number, at least {low} and at most {high}")
    return kind(value)


def _list(stored: Mapping[str, Any], key: str, kind: type | tuple[type, ...]) -> Sequence[Any]:
    value = stored.get(key)
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        raise _wrong(key, value, "a list")
    return value


def _class_names(stored: Mapping[str, Any]) -> tuple[str, str]:
    names = _list(stored, "class_names", str)
    # They become folders (--sort-into), so they may lead nowhere else.
    if len(set(names)) != 2 or not all(name.replace("_", "").replace("-", "").isalnum() for name in names):
        raise _wrong("class_names", names, "two different names of letters, digits, - and _")
    return names[0], names[1]


def _band(stored: Mapping[str, Any]) -> tuple[float, float] | None:
    if stored.get("abstain") is None:
        return None
    band = _list(stored, "abstain", (int, float))
    if len(band) != 2 or not 0 <= band[0] <= band[1] <= 1:
        raise _wrong("abstain", band, "null or two ascending probabilities")
    return float(band[0]), float(band[1])


def _scores(stored: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    scores = stored.get("scores")
    if not isinstance(scores, dict) or not all(isinstance(part, dict) for part in scores.values()):
        raise _wrong("scores", scores, "scores by part and name")
    for part in scores.values():
        for name in part:
            if len(_list(part, name, (int, float))) != 3:
                raise _wrong(f"scores.{name}", part[name], "value, low and high")
    return scores


def _formats(stored: Mapping[str, Any]) -> tuple[str, ...]:
    formats = _list(stored, "formats", str)
    if not formats or len(set(formats)) != len(formats) or not set(formats) <= set(MODEL_FILES):
        raise _wrong("formats", formats, f"some of {', '.join(MODEL_FILES)}")
    return tuple(formats)


def _files(stored: Mapping[str, Any]) -> dict[str, str]:
    files = stored.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise _wrong("files", files, "a SHA-256 for each file")
    return files


def finite_scores(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Scores of a evaluated run as a bundle keeps them; those that are not defined are left out."""
    return {
        part: {
            name: [score.value, score.low, score.high]
            for name, score in named.items()
            if all(map(math.isfinite, (score.value, score.low, score.high)))
        }
        for part, named in scores.items()
    }
