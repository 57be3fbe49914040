"""Synthetic faces: the same everywhere, balanced, independent of the label but for the expression, no shortcut."""

from __future__ import annotations

import hashlib
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, ks_2samp, spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from src.synthetic.faces import FaceFactors, draw_face, sample_factors
from src.synthetic.geometry import EYE_LEVEL, Box, bounding_box

EXPRESSION = ["smile", "brow_expression", "eye_expression"]
BOXES = [f"{feature}_{side}" for feature in ("mouth", "left_brow", "right_brow") for side in Box._fields]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.DataFrame([sample_factors(0, index).columns() for index in range(1000)])


@pytest.mark.parametrize(
    ("seed", "index", "size", "digest"),
    [
        (0, 0, 256, "ed87266179299e8fb82c34990fb214f8f9509046497e7bb893a544495a717a55"),
        (0, 17, 64, "e530d878175892cd47fd60039e8be16fabf0e4453e57a17169ef3df5487e04f9"),
        (2**32 - 1, 1_000_001, 256, "92dcd82ba5bb2bbda2ce483516b297ad2815182aee94ccd7f70a48ab1ed9009b"),
    ],
)
def test_a_face_is_the_same_on_every_machine(seed: int, index: int, size: int, digest: str) -> None:
    image, _ = draw_face(seed, index, size)
    assert hashlib.sha256(image.tobytes()).hexdigest() == digest


@pytest.mark.parametrize("size", [16, 100, 256, 1024])
def test_a_face_can_be_drawn_at_any_size(size: int) -> None:
    image, _ = draw_face(0, 1, size)
    usual, _ = draw_face(0, 1, 256)
    assert (image.shape, image.dtype) == ((size, size, 3), np.uint8)
    assert np.abs(image.mean((0, 1)) - usual.mean((0, 1))).max() < 2


def test_classes_are_balanced_and_columns_are_flat_numbers_and_words(table: pd.DataFrame) -> None:
    assert table["label"].iloc[:10].sum() == 5
    assert table["label"].mean() == 0.5
    assert {dtype.kind for dtype in table.dtypes} <= set("ifbOU")
    assert table.notna().all().all()
    assert table[BOXES].to_numpy().min() >= 0
    assert table[BOXES].to_numpy().max() <= 1


def test_no_factor_but_the_expression_depends_on_the_label_or_another_factor(table: pd.DataFrame) -> None:
    others = table.drop(columns=["label", *EXPRESSION, *BOXES])
    happy = table["label"] == 1
    chances = {name: _chance_of_no_difference(column, happy) for name, column in others.items()}
    assert min(chances.values()) > 0.01 / len(chances), chances
    codes = others.apply(lambda column: column if column.dtype.kind in "ifb" else pd.factorize(column, sort=True)[0])
    pairs = {pair: spearmanr(codes[pair[0]], codes[pair[1]]).pvalue for pair in combinations(codes.columns, 2)}
    assert min(pairs.values()) > 0.01 / len(pairs), min(pairs, key=lambda pair: pairs[pair])


def _chance_of_no_difference(column: pd.Series, happy: pd.Series) -> float:
    if column.nunique() <= 12:
        return float(chi2_contingency(pd.crosstab(column, happy)).pvalue)
    return float(ks_2samp(column[happy], column[~happy]).pvalue)


def test_ambiguity_moves_the_classes_closer_until_they_are_the_same() -> None:
    gaps = []
    for ambiguity in (0.0, 0.5, 1.0):
        faces = [sample_factors(0, index, ambiguity) for index in range(300)]
        smiles = {label: np.array([face.smile for face in faces if face.label == label]) for label in (0, 1)}
        gaps.append(smiles[1].mean() - smiles[0].mean())
        if ambiguity == 0:
            assert smiles[1].min() > smiles[0].max()
    assert gaps[0] > gaps[1] > gaps[2]
    for cue in EXPRESSION:
        values = {label: [getattr(face, cue) for face in faces if face.label == label] for label in (0, 1)}
        assert ks_2samp(values[0], values[1]).pvalue > 0.01


def test_boxes_hold_the_mouth_and_the_brows() -> None:
    """The same face with another expression differs in its eyes, and else only inside the boxes, which it fills."""
    compared = 0
    for index in range(80):
        face, other = sample_factors(0, index, 0.0), sample_factors(0, index, 1.0)
        if face.noise or face.blur or (face.beard, face.glasses, face.occluder) != ("none", "none", "none"):
            continue
        before, after = (draw_face(0, index, 256, ambiguity)[0].astype(int) for ambiguity in (0.0, 1.0))
        changed = np.abs(before - after).max(axis=2) > 0
        brows = _mask(face.left_brow_box, other.left_brow_box) | _mask(face.right_brow_box, other.right_brow_box)
        mouth = _mask(face.mouth_box, other.mouth_box)
        assert not (changed & ~brows & ~mouth & ~_eyes(face)).any()
        assert changed[mouth].mean() > 0.2
        assert changed[brows].mean() > 0.15
        compared += 1
    assert compared >= 3


def _mask(*boxes: Box) -> np.ndarray:
    """The pixels of a 256-pixel image inside any of `boxes`, and the two pixels around it that soft edges reach."""
    mask = np.zeros((256, 256), bool)
    for box in boxes:
        left, top, right, bottom = (np.array(box) * 256 + (-2, -2, 3, 3)).astype(int)
        mask[top:bottom, left:right] = True
    return mask


def _eyes(face: FaceFactors) -> np.ndarray:
    corners = np.array([(x, EYE_LEVEL + y) for x in (-0.6, 0.6) for y in (-0.24, 0.24)])
    return _mask(bounding_box(face.place(corners)))


def test_small_thumbnails_do_not_give_the_expression_away() -> None:
    thumbnails = np.stack(
        [draw_face(0, index, 32)[0].reshape(16, 2, 16, 2, 3).mean(axis=(1, 3)).ravel() for index in range(600)]
    )
    labels = 1 - np.arange(600) % 2
    train, test, train_labels, test_labels = train_test_split(
        thumbnails, labels, test_size=0.3, stratify=labels, random_state=0
    )
    for strength in (0.01, 1.0):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        assert model.fit(train, train_labels).score(test, test_labels) < 0.75
