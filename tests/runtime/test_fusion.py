"""Faces and the whole image become one probability, by coefficients that are fitted on validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.conversion.photo import fit_fusion
from src.conversion.photo_evidence import read_evidence, write_evidence
from src.errors import DataError
from src.metrics.calibration import expected_calibration_error
from src.metrics.log_odds import sigmoid
from src.runtime.bundle import Evidence, Fusion, combine_faces, describe_faces

PLAIN = Fusion(joining="largest", with_faces=(0.0, 1.0, 0.5), without_faces=(0.1, 2.0))


def evidence(faces: list[float], sides: list[float], scene: float) -> Evidence:
    return Evidence(np.array(faces), np.array(sides), scene)


def test_the_largest_face_and_the_scene_add_up() -> None:
    found = PLAIN.probability(evidence([3.0, -1.0], [20.0, 50.0], 4.0))
    assert found == pytest.approx(float(sigmoid(-1.0 + 0.5 * 4.0)))


def test_without_a_face_the_scene_alone_answers() -> None:
    assert PLAIN.probability(evidence([], [], -0.4)) == pytest.approx(float(sigmoid(0.1 - 0.8)))


def test_a_mean_counts_faces_by_their_area() -> None:
    assert combine_faces([1.0, -1.0], [30.0, 10.0], "mean") == pytest.approx((900 - 100) / 1000)
    assert [describe_faces(count) for count in (0, 1, 2)] == ["whole image, no face found", "1 face", "2 faces"]


@pytest.mark.parametrize("wrong", [{"joining": "loudest"}, {"with_faces": (0.0, 1.0)}, {"threshold": 2.0}])
def test_coefficients_are_checked(wrong: dict[str, object]) -> None:
    values = {"joining": "mean", "with_faces": (0.0, 1.0, 1.0), "without_faces": (0.0, 1.0)}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fusion(**(values | wrong))  # type: ignore[arg-type]


def synthetic(count: int, seed: int) -> tuple[np.ndarray, list[Evidence]]:
    """Images whose true model is known: faces in half of them, overconfident scenes everywhere."""
    generator = np.random.default_rng(seed)
    scenes, largest, small = generator.normal(0, 4, count), generator.normal(0, 2, count), generator.normal(0, 2, count)
    with_face = generator.random(count) < 0.5
    truth = np.where(with_face, 0.5 + 1.5 * largest + 0.2 * scenes, -0.3 + 0.4 * scenes)
    labels = (generator.random(count) < sigmoid(truth)).astype(float)
    found = [
        evidence([one, other], [60.0, 40.0], scene) if face else evidence([], [], scene)
        for scene, one, other, face in zip(scenes, largest, small, with_face, strict=True)
    ]
    return labels, found


def test_fitting_finds_the_model_that_made_the_labels() -> None:
    fusion = fit_fusion(*synthetic(6000, 0), unsure_below=0.6)
    np.testing.assert_allclose(fusion.with_faces, (0.5, 1.5, 0.2), atol=0.15)
    np.testing.assert_allclose(fusion.without_faces, (-0.3, 0.4), atol=0.1)
    assert fusion.joining == "largest"
    assert fusion.abstain == pytest.approx((0.4, 0.6))


def test_fused_probabilities_are_calibrated_on_other_images() -> None:
    fusion = fit_fusion(*synthetic(1500, 1), unsure_below=0.5)
    labels, found = synthetic(3000, 2)
    fused = [fusion.probability(item) for item in found]
    scenes = sigmoid([item.scene for item in found])
    assert expected_calibration_error(labels, fused) < 0.04 < expected_calibration_error(labels, scenes)
    assert fusion.abstain is None


def test_where_no_image_has_a_face_the_sum_of_log_odds_is_kept() -> None:
    labels = np.array([0.0, 1.0])
    fusion = fit_fusion(labels, [evidence([], [], -1.0), evidence([], [], 1.0)], unsure_below=0.6)
    assert fusion.with_faces == (0.0, 1.0, 1.0)
    assert 1 < fusion.without_faces[1] < 2  # two images, however separable, prove little


def test_evidence_comes_back_from_its_table(tmp_path: Path) -> None:
    labels, found = synthetic(300, 3)
    write_evidence(pd.DataFrame({"label": labels.astype(int), "evidence": found}), tmp_path / "evidence.parquet")
    read = read_evidence(tmp_path / "evidence.parquet")
    assert fit_fusion(read.labels, read.evidence, 0.6) == fit_fusion(labels, found, 0.6)
    assert read.of == "photos of evidence.parquet"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": [1, 1]}, "accepts labels 0 and 1, both of them"),
        ({"label": ["happy", "sad"]}, "no table of label, face_log_odds"),
        ({"face_sides": [[], [40.0, 30.0]]}, "a face without a side"),
        ({"face_log_odds": [[], [np.nan]]}, "not finite"),
        ({"scene_log_odds": [0.1, None]}, "not finite"),
        ({"scene_log_odds": None}, "no table of label, face_log_odds"),
    ],
)
def test_what_is_no_table_of_evidence_is_one_line(change: dict[str, object], said: str, tmp_path: Path) -> None:
    sound = {"label": [0, 1], "face_log_odds": [[], [1.0]], "face_sides": [[], [40.0]], "scene_log_odds": [0.1, 0.2]}
    columns = {name: values for name, values in (sound | change).items() if values is not None}
    pd.DataFrame(columns).to_parquet(tmp_path / "evidence.parquet")
    with pytest.raises(DataError, match=said):
        read_evidence(tmp_path / "evidence.parquet")


@pytest.mark.parametrize("content", [None, b"no table"])
def test_no_file_of_evidence_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "evidence.parquet"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match="no table of label, face_log_odds"):
        read_evidence(file)
