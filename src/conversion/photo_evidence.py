"""Answers of a bundle's two models to labeled photos, each read in full, as a prediction reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import DatasetConfig, ExportConfig
from ..data.prepared import PreparedDataset
from ..data.samples import Limits, RejectedImageError, Sample
from ..data.sources import list_samples
from ..errors import BundleError, DataError
from ..runtime.bundle import UNSURE, Bundle, Evidence
from ..runtime.photos import Photo, PhotoPredictor
from ..runtime.predictor import BATCH_SIZE, ImageFile

EVALUATED = ("validation", "test")
EVIDENCE_COLUMNS = ("label", "face_log_odds", "face_sides", "scene_log_odds")


@dataclass(frozen=True)
class LabeledPhotos:
    """The validation and test photos of a data set. Row i of `table` (path, label, split, group, copied, part)
    describes `samples[i]`.

    `group` is a group of near-duplicates, and `copied` says that it reaches into another split; `part` is what a
    pattern finds in the path.
    """

    samples: list[Sample]
    table: pd.DataFrame
    limits: Limits


@dataclass(frozen=True)
class LabeledEvidence:
    """The data of a fusion's fit: `labels` (n,), 0 or 1, the `evidence` of n photos, and what these are, in words."""

    labels: np.ndarray
    evidence: list[Evidence]
    of: str

    @classmethod
    def of_table(cls, found: pd.DataFrame, of: str) -> LabeledEvidence:
        """That in a table as `photo_evidence` makes it."""
        return cls(found["label"].to_numpy(float), list(found["evidence"]), of)


def labeled_photos(prepared: PreparedDataset, dataset: DatasetConfig, config: ExportConfig) -> LabeledPhotos:
    """The photos of `prepared`, made from `dataset`, in its own splits, or in those whose paths `config.validation` and
    `config.test` match. Raises BundleError where no photo is validated on.
    """
    table = prepared.table[["source", "path", "label", "split", "group"]]
    if config.validation or config.test:
        table = table.assign(split=[_split(path, config) for path in table["path"]])
    used = table[table["split"] != "unused"]
    table = table.assign(copied=table["group"].map(used.groupby("group")["split"].nunique() > 1).fillna(value=False))
    table = table[table["split"].isin(EVALUATED)]
    table = table.assign(part=[_part(path, config.groups) for path in table["path"]])
    if not (table["split"] == "validation").any():
        raise BundleError(
            f"{dataset.path or dataset.name}: no photo is in the validation split; the fusion is fitted on it"
        )
    samples = {(sample.source, sample.path): sample for sample in list_samples(dataset).samples}
    found = [samples[key] for key in zip(table["source"], table["path"], strict=True)]
    return LabeledPhotos(found, table.drop(columns="source").reset_index(drop=True), Limits.of(dataset))


def _split(path: str, config: ExportConfig) -> str:
    matching = [name for name in EVALUATED if (pattern := getattr(config, name)) and re.search(pattern, path)]
    if len(matching) > 1:
        raise BundleError(f"{path}: validation={config.validation} and test={config.test} both match it")
    return matching[0] if matching else "train"


def _part(path: str, pattern: str | None) -> str:
    match = re.search(pattern, path) if pattern else None
    return match.group(1 if match.re.groups else 0) if match else "others"


def photo_evidence(classifier: PhotoPredictor, photos: LabeledPhotos) -> pd.DataFrame:
    """The table of `photos` with `evidence`, without those that are one face, which no fusion answers.

    Raises BundleError where none of validation is left.
    """
    rows = iter(photos.samples)
    evidence: list[Evidence] = []
    one_face: list[bool] = []
    while batch := list(islice(rows, BATCH_SIZE)):
        prepared = [_photo(classifier, sample, photos.limits) for sample in batch]
        evidence += classifier.evidence(prepared)
        one_face += [photo.one_face for photo in prepared]
    found = photos.table.assign(evidence=pd.Series(evidence, photos.table.index, object))
    found = found[~np.array(one_face)]
    if not (found["split"] == "validation").any():
        raise BundleError("no validation image is larger than a face; fit on whole photos")
    return found


def _photo(classifier: PhotoPredictor, sample: Sample, limits: Limits) -> Photo:
    prepared = classifier.prepare(ImageFile(sample.path, sample.locator.read(limits.bytes)))
    if isinstance(prepared, RejectedImageError):
        raise BundleError(f"{sample.path}: {prepared}")
    return prepared


def write_evidence(found: pd.DataFrame, file: Path) -> None:
    """Write `photo_evidence` as a Parquet table, in which evidence is `face_log_odds` and `face_sides` (a list for each
    photo) and `scene_log_odds`.
    """
    values = [(item.faces.tolist(), item.sides.tolist(), item.scene) for item in found["evidence"]]
    columns = pd.DataFrame(values, index=found.index, columns=EVIDENCE_COLUMNS[1:])
    found.drop(columns="evidence").join(columns).to_parquet(file, index=False)


def read_evidence(file: Path) -> LabeledEvidence:
    """Read models' answers to photos from a table that `write_evidence` made. Raises DataError for any other file."""
    try:
        table = pd.read_parquet(file, columns=list(EVIDENCE_COLUMNS))
        evidence = evidence_of(table)
        labels = table["label"].to_numpy(float)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"evidence={file}: no table of {', '.join(EVIDENCE_COLUMNS)}: {error}") from None
    if set(labels) != {0.0, 1.0}:
        raise DataError(f"evidence={file}: accepts labels 0 and 1, both of them")
    if any(
        item.faces.shape != item.sides.shape or not np.isfinite([*item.faces, item.scene]).all() for item in evidence
    ):
        raise DataError(f"evidence={file}: a face without a side, or a number that is not finite")
    return LabeledEvidence(labels, evidence, f"photos of {file.name}")


def evidence_of(table: pd.DataFrame) -> list[Evidence]:
    """The evidence in a table as `write_evidence` makes it. Raises TypeError or ValueError for what are no numbers."""
    rows = table[list(EVIDENCE_COLUMNS[1:])].itertuples(index=False)
    return [Evidence(_numbers(faces), _numbers(sides), float(scene)) for faces, sides, scene in rows]


def _numbers(values: Sequence[float]) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def with_answers(found: pd.DataFrame, bundle: Bundle) -> pd.DataFrame:
    """`photo_evidence` with the columns probability, right (whatever the band), answered and faces."""
    assert bundle.scene is not None  # noqa: S101  (for the type checker)
    fusion = bundle.scene.fusion
    probability = np.array([fusion.probability(item) for item in found["evidence"]])
    return found.assign(
        probability=probability,
        right=(probability >= fusion.threshold) == found["label"].astype(bool),
        answered=[bundle.fused_label(value) != UNSURE for value in probability],
        faces=[item.faces.size for item in found["evidence"]],
    )
