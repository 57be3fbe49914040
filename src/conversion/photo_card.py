"""The model card of a bundle for photos: the fused scores first, then the cards of both models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pandas as pd

from ..config import ExportConfig
from ..metrics.calibration import calibration_error_by_chance, expected_calibration_error
from ..metrics.intervals import proportion
from ..reports.pages import markdown_table
from ..runtime.bundle import Bundle
from .photo_evidence import EVALUATED, LabeledEvidence

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
