"""From a face model and a scene model to one bundle for photos, with the fusion fitted on validation pictures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import ExportConfig
from ..data.prepared import PreparedDataset
from ..data.samples import Limits, RejectedPictureError, Sample
from ..data.sources import list_samples
from ..errors import BundleError, ConfigError
from ..evaluation.recorded import RecordedModel
from ..metrics.calibration import expected_calibration_error
from ..metrics.intervals import proportion
from ..metrics.scores import score
from ..reports.pages import markdown_table
from ..runtime.bundle import (
    CARD,
    MODEL_FILES,
    SCENE_PREFIX,
    UNSURE,
    Bundle,
    Scene,
    create_bundle,
    finite_scores,
    write_manifest,
)
from ..runtime.classifier import BATCH_SIZE
from ..runtime.fusion import Evidence, Fusion
from ..runtime.photos import Photo, PhotoClassifier
from ..runtime.pictures import Picture
from .fusion_fitting import SUM_WITH_FACES, SUM_WITHOUT, fit_fusion

SPLITS = ("validation", "test")
_UNFITTED = Fusion(joining="largest", with_faces=SUM_WITH_FACES, without_faces=SUM_WITHOUT)


def build_photo_bundle(
    face: Bundle, scene: Bundle, recorded: RecordedModel, dataset: PreparedDataset, config: ExportConfig, folder: Path
) -> Bundle:
    """Write the bundle of both models to `folder`; `recorded` and `dataset` are those of the scene model.

    The fusion is fitted on the data set's validation pictures, read again in full, as a prediction reads them; its
    test pictures are only scored. Raises BundleError where both have no format in common.
    """
    if face.scene:
        raise BundleError(f"run={config.run}: holds a scene model already; name a bundle or run of a face model alone")
    formats = tuple(name for name in face.formats if name in scene.formats)
    if not formats:
        raise BundleError(f"no format is in both bundles: {', '.join(face.formats)}; {', '.join(scene.formats)}")
    if face.class_names != scene.class_names:
        raise BundleError(f"classes: {face.class_names} of faces, {scene.class_names} of scenes")
    folder.mkdir(parents=True, exist_ok=True)
    for name in formats:
        shutil.copyfile(face.model_file(name), folder / MODEL_FILES[name])
        shutil.copyfile(scene.model_file(name), folder / (SCENE_PREFIX + MODEL_FILES[name]))
    (folder / CARD).write_text("", encoding="utf-8")
    described = Scene(
        image_size=scene.image_size,
        fit=scene.fit,
        dataset_digest=scene.dataset_digest,
        run_id=scene.run_id,
        fusion=_UNFITTED,
    )
    draft = write_manifest(_joined(face, folder, formats, described))
    found = photo_evidence(PhotoClassifier(draft), recorded, dataset, config.groups)
    fitting = found[found["split"] == "validation"]
    fusion = fit_fusion(fitting["label"].to_numpy(float), list(fitting["evidence"]), config.unsure_below)
    fused = replace(draft, scene=replace(described, fusion=fusion))
    answered = with_answers(found, fused)
    scored = replace(fused, scores={**_scores(answered, fusion), **_of_faces(face)})
    (folder / CARD).write_text(photo_card(scored, answered, face.card(), scene.card(), config), encoding="utf-8")
    return write_manifest(scored)


def photo_evidence(
    classifier: PhotoClassifier, recorded: RecordedModel, dataset: PreparedDataset, groups: str | None
) -> pd.DataFrame:
    """Columns path, label, split, group and `evidence` of the validation and test pictures, prepared as photos are;
    those that are one face, which no fusion answers, are left out.

    `group` is what the regular expression `groups` finds in the path, or the group of near-duplicates.
    """
    table = dataset.table[dataset.table["split"].isin(SPLITS)]
    samples = {(sample.source, sample.path): sample for sample in list_samples(recorded.config.dataset).samples}
    limits = Limits.of(recorded.config.dataset)
    rows = iter([samples[key] for key in zip(table["source"], table["path"], strict=True)])
    evidence: list[Evidence] = []
    one_face: list[bool] = []
    while batch := list(islice(rows, BATCH_SIZE)):
        photos = [_photo(classifier, sample, limits) for sample in batch]
        evidence += classifier.evidence(photos)
        one_face += [photo.one_face for photo in photos]
    named = table[["path", "label", "split", "group"]].assign(evidence=pd.Series(evidence, table.index, object))
    photos_only = named[~np.array(one_face)]
    if not (photos_only["split"] == "validation").any():
        raise BundleError(f"scene={recorded.name}: no validation picture is larger than a face; fit on whole photos")
    return photos_only if groups is None else photos_only.assign(group=_groups(photos_only["path"], groups))


def _photo(classifier: PhotoClassifier, sample: Sample, limits: Limits) -> Photo:
    prepared = classifier.prepare(Picture(sample.path, sample.locator.read(limits.bytes)))
    if isinstance(prepared, RejectedPictureError):
        raise BundleError(f"{sample.path}: {prepared}")
    return prepared


def _groups(paths: pd.Series, pattern: str) -> list[str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"groups={pattern!r} is no regular expression: {error}") from None
    found = [expression.search(path) for path in paths]
    return [match.group(1 if expression.groups else 0) if match else "others" for match in found]


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


def _joined(face: Bundle, folder: Path, formats: Sequence[str], scene: Scene) -> Bundle:
    kept = (
        "class_names",
        "image_size",
        "fit",
        "threshold",
        "temperature",
        "abstain",
        "dataset_digest",
        "scores",
        "run_id",
    )
    values = {name: getattr(face, name) for name in kept}
    return create_bundle(folder, name=folder.name, formats=tuple(formats), scene=scene, files={}, **values)


def _scores(answered: pd.DataFrame, fusion: Fusion) -> dict[str, dict[str, list[float]]]:
    by_split = answered.groupby("split")
    return finite_scores(
        {
            str(split): score(part["label"], part["probability"], part["group"], threshold=fusion.threshold)
            for split, part in by_split
        }
    )


def _of_faces(face: Bundle) -> dict[str, dict[str, list[float]]]:
    return {f"faces: {split}": named for split, named in face.scores.items()}


def photo_card(bundle: Bundle, answered: pd.DataFrame, face_card: str, scene_card: str, config: ExportConfig) -> str:
    """The card of a bundle for photos: the fused scores first, then the cards of both models."""
    assert bundle.scene is not None  # noqa: S101  (for the type checker)
    fusion = bundle.scene.fusion
    test = answered[answered["split"] == "test"]
    files = [place(name) for name in bundle.formats for place in (bundle.model_file, bundle.scene_file)]
    size = sum(file.stat().st_size for file in files)
    header = ("split", "pictures", "accuracy", "calibration error", "answered", "accuracy of these")
    parts = [
        (f"{split}{case}", part)
        for split in SPLITS
        for case, part in _cases(answered[answered["split"] == split])
        if len(part)
    ]
    groups = [("group", "split", "pictures", "face found", "accuracy")] if config.groups else []
    by_group = [
        (str(name), str(split), f"{len(part):,}", f"{(part['faces'] > 0).mean():.0%}", str(proportion(part["right"])))
        for (name, split), part in answered.groupby(["group", "split"])
    ]
    texts = [
        f"# Model card: {bundle.name}",
        f"**Test accuracy on whole photos {proportion(test['right'], test['group'])}** on {len(test):,} pictures."
        if len(test)
        else "",
        "Says which of two apparent expressions, *{}* or *{}*, a photo shows. Faces are looked for first; a face model "
        "judges each, a scene model the whole picture, and a logistic model fuses both into one probability. A picture "
        "as small as the face model's input, or enlarged from so small a one, counts as one face.".format(
            *bundle.class_names
        ),
        "## Whole photos",
        markdown_table(header, [_row(title, part) for title, part in parts]),
        "In brackets: 95 % intervals over groups. Accuracy counts every picture; `answered` are those not `unsure`.",
        "### By group\n\n" + markdown_table(groups[0], by_group) if groups else "",
        "## Fusion",
        f"Fitted on the {(answered['split'] == 'validation').sum():,} validation pictures of the scene model, on "
        f"log-odds; several faces are joined by their {fusion.joining}.\n\n"
        f"- with faces: {_formula(fusion.with_faces, ('faces', 'scene'))}\n"
        f"- without: {_formula(fusion.without_faces, ('scene',))}\n\n"
        f"Below {config.unsure_below:.0%} for either class the answer is `unsure`.",
        config.notes or "",
        f"Both models take {size / 1e6:.2f} MB.",
        _demoted(face_card, "Face model"),
        _demoted(scene_card, "Scene model"),
    ]
    return "\n\n".join(text for text in texts if text) + "\n"


def _cases(part: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "", part
    yield ", a face found", part[part["faces"] > 0]
    yield ", no face found", part[part["faces"] == 0]


def _row(title: str, part: pd.DataFrame) -> tuple[str, ...]:
    sure = part[part["answered"]]
    calibration = expected_calibration_error(part["label"], part["probability"])
    accuracy = str(proportion(part["right"], part["group"]))
    return (
        title,
        f"{len(part):,}",
        accuracy,
        f"{calibration:.3f}",
        f"{part['answered'].mean():.0%}",
        str(proportion(sure["right"], sure["group"])),
    )


def _formula(weights: Sequence[float], names: Sequence[str]) -> str:
    return f"{weights[0]:+.2f}" + "".join(
        f" {weight:+.2f} x {name}" for weight, name in zip(weights[1:], names, strict=True)
    )


def _demoted(card: str, title: str) -> str:
    """A card as a section: its headings one level lower, its own title replaced."""
    body = re.sub(r"^# .*\n", "", card, count=1)
    return f"## {title}\n\n" + re.sub(r"^(#+) ", r"#\1 ", body, flags=re.MULTILINE).strip()
