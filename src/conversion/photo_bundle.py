"""From a face model and a scene model to one bundle for photos, with the fusion fitted on photos of neither."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..config import ExportConfig
from ..detection.faces import BLAZEFACE
from ..errors import BundleError
from ..metrics.scores import score
from ..runtime.bundle import (
    CARD,
    MODEL_FILES,
    SCENE_PREFIX,
    Bundle,
    Fusion,
    Scene,
    create_bundle,
    finite_scores,
    write_manifest,
)
from ..runtime.photos import PhotoPredictor
from .fusion_fitting import SUM_WITH_FACES, SUM_WITHOUT, fit_fusion
from .photo_card import FACE_SECTION, SCENE_SECTION, card_section, photo_card
from .photo_evidence import LabeledEvidence, LabeledPhotos, photo_evidence, with_answers

FACE_SCORES = "faces: "
_UNFITTED = Fusion(joining="largest", with_faces=SUM_WITH_FACES, without_faces=SUM_WITHOUT)
_OF_FACES = (
    *("class_names", "image_size", "threshold", "temperature", "abstain", "dataset_digest", "scores", "run_id"),
)
"""What a bundle for photos takes over from that of its face model. Not `fit`: its own detector cuts faces out, and a
image that is to be one face is stretched.
"""


def build_photo_bundle(
    face: Bundle,
    scene: Bundle,
    photos: LabeledPhotos,
    config: ExportConfig,
    folder: Path,
    evidence: LabeledEvidence | None = None,
) -> Bundle:
    """Write the bundle of both models to `folder`, which finds faces by BlazeFace.

    The fusion is fitted on `evidence`, that of the validation photos where None; the test photos are only scored.
    Raises BundleError where both models have no format in common.
    """
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
        detection=BLAZEFACE,
    )
    draft = write_manifest(_joined(face, folder, formats, described))
    found = photo_evidence(PhotoPredictor(draft), photos)
    fitting = evidence or LabeledEvidence.of_table(found[found["split"] == "validation"], "validation photos")
    fusion = fit_fusion(fitting.labels, fitting.evidence, config.unsure_below)
    fused = replace(draft, scene=replace(described, fusion=fusion))
    answered = with_answers(found, fused)
    faces = {FACE_SCORES + split: named for split, named in face.scores.items()}
    scored = replace(fused, scores={**_scores(answered, fusion), **faces})
    cards = (face.card(), scene.card())
    (folder / CARD).write_text(photo_card(scored, answered, fitting, cards, config), encoding="utf-8")
    return write_manifest(scored)


def face_part(bundle: Bundle, folder: Path) -> Bundle:
    """The face model of a bundle for photos as a bundle of its own in `folder`; any other bundle as it is."""
    if bundle.scene is None:
        return bundle
    folder.mkdir(parents=True)
    for name in bundle.formats:
        shutil.copyfile(bundle.model_file(name), folder / MODEL_FILES[name])
    (folder / CARD).write_text(card_section(bundle.card(), FACE_SECTION), encoding="utf-8")
    scores = {
        split.removeprefix(FACE_SCORES): named
        for split, named in bundle.scores.items()
        if split.startswith(FACE_SCORES)
    }
    return write_manifest(replace(bundle, folder=folder, scene=None, scores=scores))


def scene_part(bundle: Bundle, folder: Path) -> Bundle:
    """The scene model of a bundle for photos as a bundle of its own in `folder`; any other bundle as it is.

    A bundle for photos keeps neither the scene model's threshold nor its temperature, which a fusion does without.
    """
    if bundle.scene is None:
        return bundle
    folder.mkdir(parents=True)
    for name in bundle.formats:
        shutil.copyfile(bundle.scene_file(name), folder / MODEL_FILES[name])
    (folder / CARD).write_text(card_section(bundle.card(), SCENE_SECTION), encoding="utf-8")
    return write_manifest(
        create_bundle(
            folder,
            name=bundle.name,
            class_names=bundle.class_names,
            image_size=bundle.scene.image_size,
            fit=bundle.scene.fit,
            threshold=0.5,
            temperature=1.0,
            dataset_digest=bundle.scene.dataset_digest,
            scores={},
            run_id=bundle.scene.run_id,
            formats=bundle.formats,
            files={},
        )
    )


def _joined(face: Bundle, folder: Path, formats: Sequence[str], scene: Scene) -> Bundle:
    values = {name: getattr(face, name) for name in _OF_FACES}
    return create_bundle(folder, name=folder.name, formats=tuple(formats), scene=scene, files={}, **values)


def _scores(answered: pd.DataFrame, fusion: Fusion) -> dict[str, dict[str, list[float]]]:
    by_split = answered.groupby("split")
    return finite_scores(
        {
            str(split): score(part["label"], part["probability"], part["group"], threshold=fusion.threshold)
            for split, part in by_split
        }
    )
