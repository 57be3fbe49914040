"""Corrections: kept once for each picture, in a list that training reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from src.config import Config
from src.data.prepared import prepare
from src.data.samples import RejectedPictureError
from src.errors import DataError
from src.web.corrections import Corrections
from tests.trained_model import picture_bytes

NAMES = ("sad", "happy")


def test_corrections_are_a_data_set_that_can_be_trained_on(
    tmp_path: Path, picture: Callable[[int], Image.Image], make_config: Callable[..., Config]
) -> None:
    corrections = Corrections(tmp_path / "corrections", NAMES)
    for number in range(24):
        corrections.save(picture_bytes(picture(number), "PNG"), NAMES[number % 2])
    dataset = prepare(make_config("dataset=manifest", f"dataset.path={corrections.manifest}").dataset)
    assert len(dataset.table) == 24
    assert dataset.table["label"].sum() == 12
    assert dataset.rejected.empty


def test_a_second_correction_of_a_picture_takes_the_place_of_the_first(
    tmp_path: Path, picture: Callable[[int], Image.Image]
) -> None:
    corrections = Corrections(tmp_path, NAMES)
    first, second = (picture_bytes(picture(number), "JPEG") for number in (0, 1))
    assert [corrections.save(first, "happy"), corrections.save(second, "sad"), corrections.save(first, "sad")] == [
        1,
        2,
        2,
    ]
    assert list(corrections.labels().values()) == ["sad", "sad"]
    kept = tmp_path / next(iter(corrections.labels()))
    assert (kept.suffix, kept.read_bytes()) == (".jpeg", first)


def test_what_is_no_picture_or_no_class_is_rejected(tmp_path: Path, picture: Callable[[int], Image.Image]) -> None:
    corrections = Corrections(tmp_path / "never_made", NAMES)
    with pytest.raises(DataError, match="accepts sad, happy"):
        corrections.save(picture_bytes(picture(0), "PNG"), "=cmd")
    with pytest.raises(RejectedPictureError):
        corrections.save(b"path,label\n", "sad")
    assert not corrections.folder.exists()
