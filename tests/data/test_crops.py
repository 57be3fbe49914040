"""Copies of one photo are found however they were edited, and strangers never are one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from src.config import DatasetConfig
from src.data import crops, duplicates
from src.data.crops import crop_pairs, features, strongest
from src.data.duplicates import small_pairs
from src.data.prepared import prepare
from src.synthetic.faces import draw_face
from tests.image_files import config_of, scene

pytest.importorskip("cv2")


def face(seed: int, size: int = 256) -> Image.Image:
    return Image.fromarray(draw_face(seed, 0, size, 0.0)[0])


def watermarked(image: Image.Image) -> Image.Image:
    image = image.copy()
    draw = ImageDraw.Draw(image)
    for row in range(0, image.height, 90):
        draw.text((20 + row % 130, row), "SAMPLE IMAGE  SAMPLE IMAGE", fill="white", font_size=24)
    return image


def recolored(image: Image.Image) -> Image.Image:
    red, green, blue = image.split()
    return ImageEnhance.Contrast(Image.merge("RGB", (green, red, blue))).enhance(0.8)


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "cropped": lambda image: image.crop((90, 60, 400, 300)),
    "cropped to 40 % of its area": lambda image: image.crop((150, 90, 456, 318)),
    "mirrored": ImageOps.mirror,
    "mirrored crop": lambda image: ImageOps.mirror(image.crop((60, 40, 420, 330))),
    "bordered": lambda image: ImageOps.expand(image, (40, 100, 40, 20), "black"),
    "watermarked and cropped": lambda image: watermarked(image.crop((40, 30, 440, 330))),
    "gray crop": lambda image: image.crop((90, 60, 400, 300)).convert("L").convert("RGB"),
    "recolored mirror image": lambda image: ImageOps.mirror(recolored(image)),
    "stretched crop": lambda image: image.crop((60, 40, 420, 330)).resize((330, 300)),
    "in a collage": lambda image: beside(image, scene(999)),
}


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (left.width + right.width, max(left.height, right.height)))
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both


def described(image: Image.Image) -> dict[str, bytes]:
    pixels = np.asarray(image.resize((256, 256), Image.Resampling.BILINEAR))
    return features(pixels, image.width, image.height)


def pairs_of(images: list[Image.Image]) -> set[tuple[int, int]]:
    left, right = crop_pairs([described(image)["keypoints"] for image in images])
    return set(zip(left.tolist(), right.tolist(), strict=True))


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_copy_is_found_among_strangers(edit: str) -> None:
    originals = [scene(seed) for seed in range(4)]
    copies = [EDITS[edit](image) for image in originals]
    expected = {(row, row + 4) for row in range(4)}
    if edit == "in a collage":  # all of them hold one more scene
        expected |= {(left, right) for left in range(4, 8) for right in range(left + 1, 8)}
    assert pairs_of([*originals, *copies]) == expected


def head(seed: int) -> Image.Image:
    """A face drawn as a circle: all of them agree at the rim."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (300, 300), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 20, 280, 280), fill="yellow", outline="black", width=10)
    for x in (100, 200):
        side = random.integers(8, 30)
        draw.ellipse((x - side, 110 - side, x + side, 110 + side), fill="black")
    draw.arc((90, 120, 210, 180 + random.integers(0, 60)), *((0, 180) if seed % 2 else (180, 360)), "black", 9)
    return image.filter(ImageFilter.GaussianBlur(1))


@pytest.mark.parametrize(
    ("make", "seeds", "max_pairs"),
    [
        (scene, range(100, 150), 0),
        (lambda seed: watermarked(scene(seed)), range(200, 212), 0),
        (head, range(10), 0),
        (face, range(30), 1),  # of 435; they share how eyes and mouths are drawn
    ],
    ids=["scenes", "one watermark", "circles", "synthetic faces"],
)
def test_strangers_are_not_joined(make: Callable[[int], Image.Image], seeds: range, max_pairs: int) -> None:
    assert len(pairs_of([make(seed) for seed in seeds])) <= max_pairs


def test_blank_images_and_unknown_ones_are_in_no_pair() -> None:
    blank = described(Image.new("RGB", (300, 200), "gray"))["keypoints"]
    assert [len(rows) for rows in crop_pairs([b"", blank, b"", blank])] == [0, 0]
    assert [len(rows) for rows in crop_pairs([])] == [0, 0]


def test_a_copy_is_found_by_the_keypoints_that_a_model_keeps() -> None:
    kept = [strongest(described(scene(seed))["keypoints"], 96) for seed in range(6)]
    crops = [described(EDITS["cropped"](scene(seed)))["keypoints"] for seed in range(6)]
    left, right = crop_pairs([*kept, *crops])
    assert set(zip(left.tolist(), right.tolist(), strict=True)) == {(row, row + 6) for row in range(6)}


def small(image: Image.Image) -> bytes:
    tiny = image.convert("L").resize((48, 48), Image.Resampling.BOX).convert("RGB")
    return features(np.asarray(tiny), 48, 48)["thumbnail"]


SMALL_EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": ImageOps.mirror,
    "shifted by three of 48 pixels": lambda image: image.transform(
        image.size, Image.Transform.AFFINE, (1, 0, 16, 0, 1, 0)
    ),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "recompressed": lambda image: image.resize((48, 48)).filter(ImageFilter.GaussianBlur(0.7)),
}


@pytest.mark.parametrize("edit", SMALL_EDITS)
def test_a_copy_of_a_small_image_is_found_among_strangers(edit: str) -> None:
    originals = [scene(seed, 256, 256).filter(ImageFilter.GaussianBlur(8)) for seed in range(20)]
    left, right = small_pairs([small(image) for image in [*originals, *map(SMALL_EDITS[edit], originals)]])
    assert set(zip(left.tolist(), right.tolist(), strict=True)) == {(row, row + 20) for row in range(20)}


def test_blank_small_images_are_in_no_pair() -> None:
    faint = Image.fromarray(
        np.full((48, 48), 128, np.uint8) + (np.indices((48, 48)).sum(axis=0) // 6 % 2).astype(np.uint8)
    )
    left, _ = small_pairs([small(image) for image in (faint, faint, Image.new("RGB", (48, 48), "gray"))] + [b""])
    assert len(left) == 0


def class_folders_with_copies(root: Path) -> Path:
    """Twelve scenes of each class; two more happy ones are a crop and a mirror image, one sad one a crop of a happy."""
    for label, name in enumerate(("sad", "happy")):
        (root / name).mkdir(parents=True)
        for seed in range(12):
            scene(1000 * label + seed).save(root / name / f"{seed}.png")
    EDITS["cropped"](scene(1000)).save(root / "happy" / "crop.png")
    EDITS["mirrored"](scene(1001)).save(root / "happy" / "mirrored.png")
    EDITS["cropped"](scene(1002)).save(root / "sad" / "conflict.png")
    return root


def grouped(config: DatasetConfig) -> dict[str, Any]:
    table = prepare(config).table.set_index("path")
    return {"group": table["group"], "conflict": table["conflict"], "split": table["split"]}


@pytest.mark.parametrize("size", [32, 256])
def test_copies_share_a_group_and_a_conflict_at_every_image_size(tmp_path: Path, size: int) -> None:
    config = replace(config_of(class_folders_with_copies(tmp_path / "root"), tmp_path / "cache"), image_size=size)
    found = grouped(replace(config, near_duplicate_distance=6))
    group, conflict, split = found["group"], found["conflict"], found["split"]
    assert group["happy/crop.png"] == group["happy/0.png"]
    assert group["happy/mirrored.png"] == group["happy/1.png"]
    assert set(conflict.index[conflict]) == {"happy/2.png", "sad/conflict.png"}
    assert split["sad/conflict.png"] == split["happy/2.png"] == "train"
    assert group.nunique() == 24
    alone = grouped(replace(config, near_duplicate_distance=6, crop_duplicates=False))
    assert alone["group"].nunique() == 27
    assert not alone["conflict"].any()


def test_without_opencv_one_line_warns_and_hashes_do_what_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(duplicates, "find_spec", lambda name: None)
    monkeypatch.setattr(crops, "find_spec", lambda name: None)
    assert described(scene(0)) == {"keypoints": b"", "thumbnail": b""}
    config = replace(
        config_of(class_folders_with_copies(tmp_path / "root"), tmp_path / "cache"), near_duplicate_distance=6
    )
    assert grouped(config)["group"].nunique() == 27
    assert capfd.readouterr().err.count("OpenCV") == 1
    grouped(config)
    assert capfd.readouterr().err == ""
