"""Undoing keeps the record of what it could not undo, and sorting leaves nothing half-made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from src.errors import DataError
from src.runtime.classifier import Answer
from src.runtime.sorting import LOG, Sorter, undo


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "album"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.png").write_bytes(bytes([index]) * 100)
    return sorted(folder.iterdir())


def sort(images: list[Path], into: Path) -> None:
    sorter = Sorter(into, "move")
    for image in images:
        sorter.put(Answer(str(image), "happy", 0.9, 0.9, "ok", "model"))


def test_moved_images_that_went_elsewhere_keep_their_lines(images: list[Path], tmp_path: Path) -> None:
    into = tmp_path / "sorted"
    sort(images, into)
    (into / "happy").rename(into / "good")
    assert undo(into) == 0
    assert (into / LOG).read_text().count("\n") == 3
    (into / "good").rename(into / "happy")
    assert undo(into) == 3
    assert all(image.exists() for image in images)
    assert not (into / LOG).exists()


def test_a_move_that_ended_halfway_is_undone(images: list[Path], tmp_path: Path) -> None:
    into = tmp_path / "sorted"
    sort(images, into)
    shutil.copy2(into / "happy" / "0.png", images[0])  # as if it had been copied and logged, and not yet taken away
    assert undo(into) == 3
    assert [image.read_bytes()[0] for image in images] == [0, 1, 2]
    assert not (into / "happy").exists()


def test_what_cannot_be_undone_is_named_and_stays_in_the_log(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into, move = tmp_path / "sorted", shutil.move
    sort(images, into)

    def fail_for_one(source: Path, target: Path) -> None:
        if target == images[1]:
            raise PermissionError(13, "Permission denied")
        move(source, target)

    monkeypatch.setattr(shutil, "move", fail_for_one)
    with pytest.raises(DataError, match=r"2 images undone, 1 not: happy/1\.png: Permission denied"):
        undo(into)
    monkeypatch.undo()
    assert undo(into) == 1
    assert all(image.exists() for image in images)


def test_a_copy_that_fails_leaves_nothing(images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_disk(_: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", fill_the_disk)
    with pytest.raises(DataError, match="No space left"):
        sort(images, tmp_path / "sorted")
    assert not list((tmp_path / "sorted" / "happy").iterdir())


def test_images_are_not_moved_out_of_a_folder_that_may_not_be_changed(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK and access(path, mode))
    with pytest.raises(DataError, match="cannot be moved out of its folder"):
        sort(images, tmp_path / "sorted")
    assert all(image.exists() for image in images)
    assert not list((tmp_path / "sorted").rglob("*.png"))
