"""A bundle of two models answers for photos: faces first, then the scene, one probability for both."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from src.config import PROJECT_ROOT, DatasetConfig, ExportConfig, SplitConfig, TrackingConfig
from src.conversion.export import export
from src.conversion.photo import build_photo_bundle
from src.conversion.photo_evidence import LabeledEvidence, labeled_photos
from src.data.prepared import prepare
from src.detection.faces import BLAZEFACE, create_detector
from src.errors import BundleError
from src.runtime.bundle import MANIFEST, Bundle, Evidence, open_bundle, write_manifest
from src.runtime.photos import PhotoPredictor, open_predictor
from src.runtime.predictor import Answer, ImageFile, ImagePredictor
from src.web.service import create_service
from tests.trained_model import Run

SHEET = PROJECT_ROOT / "docs" / "faces.jpg"


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """A sheet of faces, the same lying on its side for a camera's note, an image without a face, and one face."""
    folder = tmp_path / "photos"
    folder.mkdir()
    sheet = Image.open(SHEET).convert("RGB")
    sheet.save(folder / "faces.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    sheet.transpose(Image.Transpose.ROTATE_90).save(folder / "lying.png", exif=exif)
    Image.fromarray(np.random.default_rng(0).integers(100, 200, (150, 200, 3), np.uint8)).save(folder / "noise.png")
    sheet.crop((0, 0, 40, 40)).save(folder / "small.png")
    return sorted(folder.iterdir())


def answers(classifier: Any, paths: list[Path]) -> list[Answer]:
    return list(classifier.answers(ImageFile(str(path)) for path in paths))


def test_an_answer_says_what_it_rests_on(photo_bundle: Bundle, photos: list[Path]) -> None:
    faces, lying, noise, small = answers(open_predictor(photo_bundle), photos)
    assert int(faces.evidence.removesuffix(" faces")) > 5
    assert (lying.evidence, lying.probability) == (faces.evidence, pytest.approx(faces.probability, abs=1e-3))
    assert noise.evidence == "whole image, no face found"
    assert small.evidence == "the image as one face"


def test_a_face_that_fills_the_image_is_found() -> None:
    sheet = Image.open(SHEET).convert("RGB")
    box = max(create_detector().faces(sheet), key=lambda found: found.side)
    side, inset = box.side, box.side // 20
    close = sheet.crop((box.left + inset, box.top + inset, box.left + side - inset, box.top + side - inset))
    (found,) = create_detector().faces(close.resize((200, 200)))
    assert found.side > 120


@pytest.mark.parametrize("side", [100, 350, 900])
def test_a_cut_out_face_that_was_enlarged_is_answered_as_it_was_before(photo_bundle: Bundle, side: int) -> None:
    size = photo_bundle.image_size
    face = Image.open(SHEET).convert("RGB").crop((0, 0, 120, 120)).resize((size, size), Image.Resampling.LANCZOS)
    classifier = PhotoPredictor(photo_bundle)
    small, enlarged = (
        classifier.prepare_pixels(np.asarray(image))
        for image in (face, face.resize((side, side), Image.Resampling.BICUBIC))
    )
    assert small.one_face
    assert enlarged.one_face
    assert abs(small.faces.astype(int) - enlarged.faces).mean() < 5
    banner = face.resize((2 * side, side), Image.Resampling.BICUBIC)
    plain = Image.new("RGB", (side, side), "navy")
    sharp = Image.open(SHEET).resize((side, side))
    for image in (banner, plain, sharp):
        assert not classifier.prepare_pixels(np.asarray(image)).one_face


def test_faces_and_scene_are_fused_as_the_bundle_says(photo_bundle: Bundle, photos: list[Path]) -> None:
    classifier = PhotoPredictor(photo_bundle)
    for answer, path in zip(answers(classifier, photos[:3]), photos, strict=False):
        photo = classifier.prepare_file(path.read_bytes())
        (found,) = classifier.evidence([photo])
        assert answer.probability == pytest.approx(classifier.scene.fusion.probability(found), abs=1e-6)
        assert found.faces.size == len(photo.sides)
    (whole,) = answers(ImagePredictor(photo_bundle), photos[2:3])
    assert whole.probability != pytest.approx(answers(classifier, photos[2:3])[0].probability, abs=1e-5)


def test_an_image_of_a_face_s_size_is_answered_as_before(photo_bundle: Bundle, photos: list[Path]) -> None:
    (fused,), (before,) = (
        answers(open_predictor(photo_bundle), photos[3:]),
        answers(ImagePredictor(photo_bundle), photos[3:]),
    )
    assert (fused.label, fused.probability) == (before.label, pytest.approx(before.probability, abs=1e-9))


def test_command_service_and_program_give_one_answer(
    photo_bundle: Bundle, photos: list[Path], predict: Run, run_command: Callable[..., Any]
) -> None:
    expected = answers(open_predictor(photo_bundle), photos)
    said = [(answer.label, pytest.approx(answer.probability, abs=1e-6), answer.evidence) for answer in expected]
    printed = run_command("src.predict", *map(str, photos), "--json", "--model", str(photo_bundle.folder)).stdout
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [(row["label"], row["p_happy"], row["evidence"]) for row in rows] == said

    client = TestClient(create_service(open_predictor(photo_bundle)), base_url="http://localhost")
    assert client.get("/readyz").json() == {"status": "ready"}
    form = [("files", (path.name, path.read_bytes())) for path in photos]
    served = client.post("/v1/predict", files=form).json()["answers"]
    assert [(row["label"], row["p_happy"], row["evidence"]) for row in served] == said

    pixels = [
        np.asarray(Image.open(photos[0])),
        photos[1].read_bytes(),
        base64.b64encode(photos[2].read_bytes()).decode(),
    ]
    given = open_predictor(photo_bundle).answer_inputs([*pixels, photos[3].read_bytes()])
    assert [(answer.label, answer.probability, answer.evidence) for answer in given] == said


def test_the_company_of_other_images_changes_nothing(photo_bundle: Bundle, photos: list[Path]) -> None:
    classifier = open_predictor(photo_bundle)
    together = [answer.probability for answer in answers(classifier, photos)]
    alone = [answers(classifier, [path])[0].probability for path in photos]
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_inside_the_fusion_s_band_the_label_is_unsure(photo_bundle: Bundle, photos: list[Path], tmp_path: Path) -> None:
    folder = shutil.copytree(photo_bundle.folder, tmp_path / "careful")
    assert photo_bundle.scene is not None
    fusion = replace(photo_bundle.scene.fusion, abstain=(0.0, 1.0))
    careful = write_manifest(replace(photo_bundle, folder=folder, scene=replace(photo_bundle.scene, fusion=fusion)))
    found = answers(open_predictor(careful), photos)
    assert [(answer.label, answer.confidence, answer.verdict) for answer in found[:3]] == [(None, None, "unsure")] * 3
    assert 0 < (found[0].probability or 0) < 1
    assert found[3].label in careful.class_names
    assert careful.model_id != photo_bundle.model_id


def test_no_faces_takes_each_image_for_one_face(photo_bundle: Bundle, photos: list[Path]) -> None:
    command = [sys.executable, "-m", "src.predict", str(photos[0]), "--json", "--no-faces", "--model"]
    ran = subprocess.run(
        [*command, str(photo_bundle.folder)], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    (before,) = answers(ImagePredictor(photo_bundle), photos[:1])
    row = json.loads(ran.stdout)
    assert row["p_happy"] == pytest.approx(before.probability, abs=1e-6)
    assert row["evidence"] == "whole image"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"image_size": 2}, "scene"),
        ({"fusion": {"joining": "mean", "with_faces": [0, 1, 1], "without_faces": [0.0, float("inf")]}}, "scene"),
        ({"fusion": {"joining": "mean", "with_faces": [0.0, 1.0]}}, "scene"),
    ],
)
def test_a_scene_that_does_not_fit_is_rejected(
    photo_bundle: Bundle, tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    folder = shutil.copytree(photo_bundle.folder, tmp_path / "changed")
    stored = json.loads((folder / MANIFEST).read_text())
    stored["scene"] |= values
    (folder / MANIFEST).write_text(json.dumps(stored))
    with pytest.raises(BundleError, match=said):
        open_bundle(folder)


def test_a_changed_scene_model_is_rejected(photo_bundle: Bundle, tmp_path: Path) -> None:
    folder = shutil.copytree(photo_bundle.folder, tmp_path / "changed")
    file = folder / "scene_model.tflite"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"scene_model\.tflite: missing or changed"):
        open_bundle(folder)


def test_a_bundle_of_one_model_is_written_as_before(bundle: Bundle) -> None:
    stored = json.loads((bundle.folder / MANIFEST).read_text())
    assert stored["schema"] == 1
    assert stored["scene"] is None


@pytest.fixture
def whole_photos(tmp_path: Path) -> DatasetConfig:
    """Light and dark images larger than a face, named for one of two collectors."""
    random = np.random.default_rng(0)
    for name, level in (("happy", 150), ("sad", 105)):
        (tmp_path / "whole" / name).mkdir(parents=True)
        for index in range(40):
            pixels = random.integers(level - 100, level + 100, (80, 100, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "whole" / name / f"c{index % 2}_{index}.png")
    split = SplitConfig(train=0.5, validation=0.25, test=0.25)
    places = {"path": str(tmp_path / "whole"), "cache": str(tmp_path / "cache")}
    return DatasetConfig("whole", "folder", image_size=32, near_duplicate_distance=None, split=split, **places)


def test_a_photo_bundle_is_fitted_on_validation_and_scored_on_both(
    bundle: Bundle, whole_photos: DatasetConfig, tmp_path: Path
) -> None:
    config = ExportConfig(TrackingConfig("off"), scene="whole", groups=r"c\d", notes="Validation was looked at once.")
    photos = labeled_photos(prepare(whole_photos), whole_photos, config)
    made = build_photo_bundle(bundle, bundle, photos, config, tmp_path / "made")
    assert made.scene is not None
    assert made.scene.fusion.without_faces != (0.0, 1.0)
    assert made.scene.detection == BLAZEFACE
    assert made.scores["test"]["accuracy"][0] > 0.9
    assert made.scores["faces: test"] == bundle.scores["test"]
    card = made.card()
    assert all(text in card for text in ("| c0 | test |", "Validation was looked at once.", "## Face model", "Not for"))
    assert open_bundle(made.folder).model_id == made.model_id


def test_a_fusion_is_fitted_on_other_evidence_where_some_is_given(
    bundle: Bundle, whole_photos: DatasetConfig, tmp_path: Path
) -> None:
    config = ExportConfig(TrackingConfig("off"), scene="whole")
    photos = labeled_photos(prepare(whole_photos), whole_photos, config)
    reversed_scenes = [Evidence(np.empty(0), np.empty(0), scene) for scene in (-2.0, 2.0) * 100]
    other = LabeledEvidence(np.array([1.0, 0.0] * 100), reversed_scenes, "photos of somebody.parquet")
    made = build_photo_bundle(bundle, bundle, photos, config, tmp_path / "made", other)
    assert made.scene is not None
    assert made.scene.fusion.without_faces[1] < -1
    assert made.scene.fusion.with_faces == (0.0, 1.0, 1.0)
    assert "Fitted on 200 photos of somebody.parquet" in made.card()


@pytest.mark.parametrize("name", ["faces", "scenes"])
def test_a_bundle_for_photos_may_have_any_name(
    photo_bundle: Bundle, whole_photos: DatasetConfig, tmp_path: Path, name: str
) -> None:
    both = {"run": str(photo_bundle.folder), "scene": str(photo_bundle.folder)}
    made = export(ExportConfig(TrackingConfig("off"), **both, dataset=whole_photos, output=str(tmp_path / name)))
    for format_name in made.formats:
        assert made.model_file(format_name).read_bytes() == photo_bundle.model_file(format_name).read_bytes()
        assert made.scene_file(format_name).read_bytes() == photo_bundle.scene_file(format_name).read_bytes()


def test_a_fusion_needs_images_larger_than_a_face(bundle: Bundle, trained: Any, tmp_path: Path) -> None:
    from src.evaluation.recorded import open_recorded

    recorded = open_recorded(trained.tracking, str(trained.record))
    config = ExportConfig(TrackingConfig("off"), scene="small")
    photos = labeled_photos(prepare(recorded.config.dataset), recorded.config.dataset, config)
    with pytest.raises(BundleError, match="no validation image is larger than a face"):
        build_photo_bundle(bundle, bundle, photos, config, tmp_path / "made")
