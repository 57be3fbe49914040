"""Fitting how faces and scene become one probability: two small logistic models on validation images."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize

from ..config import ExportConfig
from ..detection.faces import BLAZEFACE
from ..errors import BundleError
from ..metrics.calibration import calibration_error_by_chance, expected_calibration_error
from ..metrics.intervals import proportion
from ..metrics.log_odds import sigmoid
from ..metrics.scores import score
from ..reports.pages import markdown_table
from ..runtime.bundle import (
    CARD,
    MODEL_FILES,
    SCENE_PREFIX,
    Bundle,
    Evidence,
    Fusion,
    Joining,
    Scene,
    combine_faces,
    create_bundle,
    finite_scores,
    write_manifest,
)
from ..runtime.photos import PhotoPredictor
from .photo_evidence import EVALUATED, LabeledEvidence, LabeledPhotos, photo_evidence, with_answers

JOININGS: tuple[Joining, ...] = ("largest", "mean")
SUM_WITH_FACES, SUM_WITHOUT = (0.0, 1.0, 1.0), (0.0, 1.0)
"""Intercept and weights of the plain sum of log-odds: right for models that are calibrated and independent."""

Floats = NDArray[np.float64]


def fit_fusion(labels: NDArray[np.floating], evidence: Sequence[Evidence], unsure_below: float) -> Fusion:
    """The fusion of the smallest cross-entropy on images with `labels` (n,), 0 or 1, and their `evidence`.

    Each of its two models is a logistic regression on log-odds (Platt 1999), with a unit Gaussian prior about their
    plain sum, so that few images change little and none nothing. Of the two ways to join several faces the one that
    fits better is taken. Fused probabilities of either class below `unsure_below` are answered by `unsure`.
    """
    truth = np.asarray(labels, dtype=np.float64)
    found = np.array([item.faces.size > 0 for item in evidence], dtype=bool)
    scene = np.array([item.scene for item in evidence], dtype=np.float64)
    fits: dict[Joining, tuple[Floats, float]] = {}
    for joining in JOININGS:
        joined = np.array([combine_faces(item.faces, item.sides, joining) for item in evidence if item.faces.size])
        fits[joining] = fit_logistic(truth[found], np.stack([joined, scene[found]], axis=-1), SUM_WITH_FACES)
    best = min(JOININGS, key=lambda joining: fits[joining][1])
    without, _ = fit_logistic(truth[~found], scene[~found, None], SUM_WITHOUT)
    intercept, face, weight = fits[best][0].tolist()
    alone, scene_weight = without.tolist()
    return Fusion(
        joining=best,
        with_faces=(intercept, face, weight),
        without_faces=(alone, scene_weight),
        abstain=(1 - unsure_below, unsure_below) if unsure_below > 0.5 else None,
    )


def fit_logistic(truth: Floats, features: Floats, prior: Sequence[float]) -> tuple[Floats, float]:
    """Intercept and weights (1 + k,) for `features` (n, k) and their penalized cross-entropy.

    The prior is Gaussian about `prior` (1 + k,), of standard deviation 1.
    """
    center = np.asarray(prior, dtype=np.float64)
    design = np.column_stack([np.ones(len(truth)), features])

    def loss(weights: Floats) -> tuple[float, Floats]:
        scores, shift = design @ weights, weights - center
        value = np.sum(np.logaddexp(0, scores) - truth * scores) + shift @ shift / 2
        return float(value), design.T @ (sigmoid(scores) - truth) + shift

    found = minimize(loss, center, jac=True, method="L-BFGS-B")
    return np.asarray(found.x, dtype=np.float64), float(found.fun)


FACE_SECTION, SCENE_SECTION = "Face model", "Scene model"


def photo_card(
    bundle: Bundle,
    answered: pd.DataFrame,
    fitting: LabeledEvidence,
    cards: tuple[str, str],
    config: ExportConfig,
) -> str:
    """The card of a bundle for photos whose fusion was fitted on `fitting`: the fused scores first, then `cards`, those
    of the face model and the scene model.
    """
    assert bundle.scene is not None  # noqa: S101  (for the type checker)
    fusion = bundle.scene.fusion
    test = answered[answered["split"] == "test"]
    files = [place(name) for name in bundle.formats for place in (bundle.model_file, bundle.scene_file)]
    size = sum(file.stat().st_size for file in files)
    header = ("split", "images", "accuracy", "calibration error (by chance)", "answered", "accuracy of these")
    parts = [
        (f"{split}{case}", part)
        for split in EVALUATED
        for case, part in _cases(answered[answered["split"] == split])
        if len(part)
    ]
    texts = [
        f"# Model card: {bundle.name}",
        f"**Test accuracy on whole photos {proportion(test['right'], test['group'])}** on {len(test):,} images."
        if len(test)
        else "",
        "Says which of two apparent expressions, *{}* or *{}*, a photo shows. Faces are looked for first; a face model "
        "judges each, a scene model the whole image, and a logistic model fuses both into one probability. An image "
        "as small as the face model's input, or enlarged from so small a one, counts as one face.".format(
            *bundle.class_names
        ),
        "## Whole photos",
        markdown_table(header, [_row(title, part) for title, part in parts]),
        "In brackets: 95 % intervals over groups of near-duplicates. Accuracy counts every image; `answered` are "
        "those not `unsure`. A perfectly calibrated model would show the calibration error `by chance` on as many.",
        _by_group(answered) if config.groups else "",
        "## Fusion",
        f"Fitted on {len(fitting.evidence):,} {fitting.of}, on log-odds; several faces are joined by their "
        f"{fusion.joining}.\n\n"
        f"- with faces: {_formula(fusion.with_faces, ('faces', 'scene'))}\n"
        f"- without: {_formula(fusion.without_faces, ('scene',))}\n\n"
        f"Below {config.unsure_below:.0%} for either class the answer is `unsure`.",
        config.notes or "",
        f"Both models take {size / 1e6:.2f} MB.",
        _demoted(cards[0], FACE_SECTION),
        _demoted(cards[1], SCENE_SECTION),
    ]
    return "\n\n".join(text for text in texts if text) + "\n"


def _by_group(answered: pd.DataFrame) -> str:
    header = ("group", "split", "images", "face found", "accuracy")
    rows = [
        (
            str(name),
            str(split),
            f"{len(part):,}",
            f"{(part['faces'] > 0).mean():.0%}",
            str(proportion(part["right"], part["group"])),
        )
        for (name, split), part in answered.groupby(["part", "split"])
    ]
    return "### By group\n\n" + markdown_table(header, rows)


def _cases(part: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "", part
    yield ", a face found", part[part["faces"] > 0]
    yield ", no face found", part[part["faces"] == 0]
    if part["copied"].any():
        yield ", no copy in another split", part[~part["copied"]]


def _row(title: str, part: pd.DataFrame) -> tuple[str, ...]:
    sure = part[part["answered"]]
    calibration = expected_calibration_error(part["label"], part["probability"])
    accuracy = str(proportion(part["right"], part["group"]))
    return (
        title,
        f"{len(part):,}",
        accuracy,
        f"{calibration:.3f} ({calibration_error_by_chance(part['probability']):.3f})",
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


def card_section(card: str, title: str) -> str:
    """A section of a card as a card again: what `_demoted` made of one. Empty where there is none."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", card, flags=re.MULTILINE | re.DOTALL)
    if found is None:
        return ""
    return f"# {title}\n\n" + re.sub(r"^#(#+) ", r"\1 ", found[1].strip(), flags=re.MULTILINE) + "\n"


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
