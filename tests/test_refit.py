"""Models out of bundles are fused anew on any labeled photos: `src.export run=BUNDLE scene=BUNDLE dataset=...`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.config import ExportConfig
from src.conversion.export import export
from src.conversion.photo import face_part, scene_part
from src.detection.faces import BLAZEFACE
from src.errors import BundleError, ConfigError
from src.runtime.bundle import Bundle, open_bundle, write_manifest
from src.runtime.photos import open_predictor
from src.runtime.predictor import ImageFile
from tests.composing import compose_config


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    """Light and dark images of four collectors, larger than a face; c1 holds a mirrored one of c2's again."""
    random = np.random.default_rng(0)
    for name, level in (("happy", 150), ("sad", 105)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(48):
            coarse = random.integers(level - 100, level + 100, (10, 12, 3)).clip(0, 255).astype(np.uint8)
            image = Image.fromarray(coarse).resize((120, 100), Image.Resampling.NEAREST)
            image.save(tmp_path / "photos" / name / f"c{index % 4}_{index}.png")
    copied = Image.open(tmp_path / "photos" / "happy" / "c2_2.png")
    copied.convert("L").save(tmp_path / "photos" / "happy" / "c1_copy.png")
    return tmp_path / "photos"


Refit = Callable[..., Bundle]


@pytest.fixture
def refit(photo_bundle: Bundle, collected: Path, tmp_path: Path) -> Refit:
    """Run the command on both models of the small bundle and the collected photos."""

    def run(*overrides: str, model: Bundle = photo_bundle, named: bool = True) -> Bundle:
        given = [f"run={model.folder}", f"scene={model.folder}", f"output={tmp_path}/made", "tracking=off"]
        photos = ["dataset=photos", f"dataset.path={collected}", f"dataset.cache={tmp_path}/cache"]
        given += photos if named else []
        return export(compose_config(*given, *overrides, schema=ExportConfig, name="export"))

    return run


def test_both_models_of_a_bundle_are_fused_anew_on_photos_of_named_collectors(
    refit: Refit, photo_bundle: Bundle, collected: Path
) -> None:
    made = refit("validation=c0_", "test=c1_", r"groups='c\d'", "notes='Fitted on c0.'")
    assert open_bundle(made.folder).model_id == made.model_id
    assert made.scene is not None
    assert photo_bundle.scene is not None
    for place in ("model.tflite", "scene_model.tflite"):
        assert (made.folder / place).read_bytes() == (photo_bundle.folder / place).read_bytes()
    assert (made.threshold, made.temperature) == (photo_bundle.threshold, photo_bundle.temperature)
    assert made.scene.detection == BLAZEFACE
    assert made.scene.fusion.without_faces != photo_bundle.scene.fusion.without_faces
    rows = [row.strip("| ").split(" | ") for row in made.card().splitlines() if row.startswith("|")]
    counts = {row[0]: row[1] for row in rows}
    assert (counts["validation"], counts["test"]) == ("24", "25")
    assert counts["test, no copy in another split"] == "24"
    assert [row[:3] for row in rows if row[0] in ("c0", "c1")] == [["c0", "validation", "24"], ["c1", "test", "25"]]
    assert "Fitted on c0." in made.card()
    (answer,) = open_predictor(made).answers([ImageFile(str(collected / "happy" / "c1_1.png"))])
    assert answer.label == "happy"


def test_a_model_of_cut_out_faces_looks_for_none_itself_in_a_bundle_for_photos(
    refit: Refit, photo_bundle: Bundle, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(photo_bundle.folder, tmp_path / "cut"))
    made = refit("validation=c0_", "test=c1_", model=write_manifest(replace(photo_bundle, folder=folder, fit="face")))
    assert made.fit == "stretch"
    landscape = Image.new("RGB", (200, 120), "green")
    landscape.save(tmp_path / "landscape.png")
    (answer,) = open_predictor(made, look_for_faces=False).answers([ImageFile(str(tmp_path / "landscape.png"))])
    assert answer.verdict in ("ok", "unsure")


def test_a_manifest_s_own_splits_are_taken(refit: Refit, collected: Path, tmp_path: Path) -> None:
    splits = {"c0": "validation", "c1": "test", "c2": "train", "c3": "train"}
    rows = [f"{path},{path.parent.name},{splits[path.name[:2]]}" for path in sorted(collected.rglob("c*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    by_list = ["dataset=manifest", f"dataset.path={tmp_path}/list.csv", "dataset.split.method=column"]
    made = refit(*by_list, "dataset.cross_split_duplicates=keep")
    by_pattern = refit("validation=c0_", "test=c1_", "overwrite=true")
    assert made.scene is not None
    assert by_pattern.scene is not None
    assert made.scene.fusion == by_pattern.scene.fusion
    assert made.scores["test"] == by_pattern.scores["test"]


def test_a_refitted_bundle_can_be_taken_apart_again(refit: Refit, bundle: Bundle, tmp_path: Path) -> None:
    made = refit("validation=c0_", "test=c1_", model=bundle)
    assert made.scene is not None
    face, scene = face_part(made, tmp_path / "face"), scene_part(made, tmp_path / "scene")
    assert (face.scene, scene.scene) == (None, None)
    assert (face.image_size, scene.image_size) == (made.image_size, made.scene.image_size)
    assert face.scores == {name[7:]: named for name, named in made.scores.items() if name.startswith("faces: ")}
    assert face.card().split("\n", 1)[1].strip() == bundle.card().split("\n", 1)[1].strip()
    assert "## Intended use" in scene.card()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["validation=c9_", "test=c1_"], "no photo is in the validation split"),
        (["validation=c0_", "test=happy"], "both match it"),
        (["validation=c0_", "notes=/nowhere/notes.md"], "notes=/nowhere/notes.md: cannot be read"),
        (["scene=null", "validation=c0_"], "name the second by scene="),
        (['validation="("'], r"validation=\(: no regular expression"),
    ],
)
def test_what_cannot_be_fitted_is_said(refit: Refit, overrides: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises((BundleError, ConfigError), match=said):
        refit(*overrides)
    assert not (tmp_path / "made").exists()


def test_photos_must_be_named_where_a_bundle_gives_the_scene_model(refit: Refit) -> None:
    with pytest.raises(ConfigError, match="a bundle holds no photos; name some: dataset=photos"):
        refit(named=False)
