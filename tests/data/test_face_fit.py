"""`dataset.fit=face`: images are prepared as the largest face in them, in training and prediction alike."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from src.data.images import decode_pixels
from src.data.prepared import prepare
from src.data.samples import Limits
from src.data.sources.synthetic import DRAWN_FOR_CUTTING, SyntheticLocator
from src.detection.faces import create_detector
from src.synthetic.faces import draw_face
from tests.image_files import config_of, scene

SIZE = 32


def page(index: int = 0, side: int = 200) -> Image.Image:
    """A drawn face of `side` pixels, and a smaller one beside it, on gray."""
    found = Image.new("RGB", (640, 400), "gray")
    found.paste(Image.fromarray(draw_face(7, index, side)[0]), (380, 120))
    found.paste(Image.fromarray(draw_face(7, index + 1, side // 2)[0]), (60, 40))
    return found


def png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_the_largest_face_is_cut_out_as_a_prediction_cuts_it_out() -> None:
    detector = create_detector()
    large = max(detector.faces(page()), key=lambda box: box.side)
    assert large.left > 320
    wanted = detector.crop(page(), large).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    found = decode_pixels(png(page()), SIZE, fit="face")
    assert np.abs(found.astype(int) - np.asarray(wanted, int)).mean() < 2


def test_a_synthetic_face_is_drawn_large_and_cut_out_like_that_of_a_photo() -> None:
    drawn = Image.fromarray(draw_face(7, 3, DRAWN_FOR_CUTTING)[0])
    cut, whole = (SyntheticLocator(7, 3, 0.0).decode(b"", SIZE, Limits(), fit) for fit in ("face", "stretch"))
    assert np.array_equal(cut.pixels, decode_pixels(png(drawn), SIZE, fit="face"))
    assert not np.array_equal(cut.pixels, whole.pixels)
    assert "mouth_left" in whole.facts
    assert "mouth_left" not in cut.facts  # features are elsewhere in the cut-out
    assert set(cut.facts) < set(whole.facts)
    assert "label" not in whole.facts


def test_a_turned_photo_is_looked_at_upright() -> None:
    buffer, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    page().transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    upright, turned = (decode_pixels(data, SIZE, fit="face") for data in (png(page()), buffer.getvalue()))
    assert np.array_equal(upright, turned)


def test_a_face_that_was_cut_out_stays_whole() -> None:
    face = Image.fromarray(draw_face(3, 0, 40)[0])
    assert np.array_equal(decode_pixels(png(face), SIZE, fit="face"), decode_pixels(png(face), SIZE))


def test_images_without_a_face_are_rejected_and_said(tmp_path: Path) -> None:
    for number in range(5):
        for name in ("happy", "sad"):
            file = tmp_path / "root" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(page(number, 200 if name == "happy" else 220)))
    scene(0).save(tmp_path / "root" / "sad" / "landscape.png")
    config = config_of(tmp_path / "root", tmp_path / "cache", near_duplicate_distance=None)
    faces = prepare(replace(config, fit="face"))
    assert faces.rejected[["path", "verdict"]].to_numpy().tolist() == [["sad/landscape.png", "no_face"]]
    whole = prepare(config)
    assert len(whole.table) == len(faces.table) + 1
    assert whole.digest != faces.digest
