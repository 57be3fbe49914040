"""Corrections: kept once for each image, in a list that training reads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from src.config import Config
from src.data.prepared import prepare
from src.data.samples import RejectedImageError
from src.errors import DataError
from src.system import read_entries
from src.web.corrections import HISTORY, Corrections
from tests.trained_model import image_bytes

NAMES = ("sad", "happy")


def test_corrections_are_a_data_set_that_can_be_trained_on(
    tmp_path: Path, image: Callable[[int], Image.Image], make_config: Callable[..., Config]
) -> None:
    corrections = Corrections(tmp_path / "corrections", NAMES)
    for number in range(24):
        corrections.save(image_bytes(image(number), "PNG"), NAMES[number % 2])
    dataset = prepare(make_config("dataset=manifest", f"dataset.path={corrections.manifest}").dataset)
    assert len(dataset.table) == 24
    assert dataset.table["label"].sum() == 12
    assert dataset.rejected.empty


def test_whoever_corrected_an_image_may_change_that(tmp_path: Path, image: Callable[[int], Image.Image]) -> None:
    corrections = Corrections(tmp_path, NAMES)
    first, second = (image_bytes(image(number), "JPEG") for number in (0, 1))
    saved = [corrections.save(first, "happy"), corrections.save(second, "sad"), corrections.save(first, "sad")]
    assert [correction.count for correction in saved] == [1, 2, 2]
    assert [correction.earlier.partition(" on ")[0] for correction in saved] == ["", "", "it was kept as happy"]
    assert list(corrections.labels().values()) == ["sad", "sad"]
    kept = tmp_path / next(iter(corrections.labels()))
    assert (kept.suffix, kept.read_bytes()) == (".jpeg", first)


def test_what_is_no_image_or_no_class_is_rejected(tmp_path: Path, image: Callable[[int], Image.Image]) -> None:
    corrections = Corrections(tmp_path / "never_made", NAMES)
    with pytest.raises(DataError, match="accepts sad, happy"):
        corrections.save(image_bytes(image(0), "PNG"), "=cmd")
    with pytest.raises(RejectedImageError):
        corrections.save(b"path,label\n", "sad")
    assert not corrections.folder.exists()


def test_nobody_changes_what_another_said_and_everything_is_history(
    tmp_path: Path, image: Callable[[int], Image.Image]
) -> None:
    corrections = Corrections(tmp_path, NAMES)
    data = image_bytes(image(0), "PNG")
    corrections.save(data, "happy", "first")
    assert "by someone else, which stands" in corrections.save(data, "sad", "second").earlier
    assert list(corrections.labels().values()) == ["happy"]
    changed = corrections.save(data, "sad", "first").earlier  # its own, though someone has contradicted it since
    assert changed.startswith("it was kept as happy on")
    assert "someone else" not in changed
    assert list(corrections.labels().values()) == ["sad"]
    history = read_entries(tmp_path / HISTORY)
    assert [(entry["label"], entry["by"]) for entry in history] == [
        ("happy", "first"), ("sad", "second"), ("sad", "first"),
    ]  # fmt: skip
    assert all(datetime.fromisoformat(entry["time"]) <= datetime.now(UTC) for entry in history)


def test_corrections_are_bounded_in_number_bytes_and_history(
    tmp_path: Path, image: Callable[[int], Image.Image]
) -> None:
    files = [image_bytes(image(number), "PNG") for number in range(3)]
    by_number = Corrections(tmp_path / "number", NAMES, max_images=2)
    by_bytes = Corrections(tmp_path / "bytes", NAMES, max_bytes=len(files[0]) + len(files[1]))
    for corrections in (by_number, by_bytes):
        for data in files[:2]:
            corrections.save(data, "happy")
        with pytest.raises(DataError, match="full"):
            corrections.save(files[2], "happy")
        assert len(list((corrections.folder / "images").iterdir())) == 2
    for _ in range(18):
        by_number.save(files[0], "sad")
    with pytest.raises(DataError, match="full"):
        by_number.save(files[0], "sad")
