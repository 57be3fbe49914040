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
def pictures(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "album"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.png").write_bytes(bytes([index]) * 100)
    return sorted(folder.iterdir())


def sort(pictures: list[Path], into: Path) -> None:
    sorter = Sorter(into, "move")
    for picture in pictures:
        sorter.put(Answer(str(picture), "happy", 0.9, 0.9, "ok", "model"))


def test_moved_pictures_that_went_elsewhere_keep_their_lines(pictures: list[Path], tmp_path: Path) -> None:
    into = tmp_path / "sorted"
    sort(pictures, into)
    (into / "happy").rename(into / "good")
    assert undo(into) == 0
    assert (into / LOG).read_text().count("\n") == 3
    (into / "good").rename(into / "happy")
    assert undo(into) == 3
    assert all(picture.exists() for picture in pictures)
    assert not (into / LOG).exists()


def test_a_move_that_ended_halfway_is_undone(pictures: list[Path], tmp_path: Path) -> None:
    into = tmp_path / "sorted"
    sort(pictures, into)
    shutil.copy2(into / "happy" / "0.png", pictures[0])  # as if it had been copied and logged, and not yet taken away
    assert undo(into) == 3
    assert [picture.read_bytes()[0] for picture in pictures] == [0, 1, 2]
    assert not (into / "happy").exists()


def test_what_cannot_be_undone_is_named_and_stays_in_the_log(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into, move = tmp_path / "sorted", shutil.move
    sort(pictures, into)

    def fail_for_one(source: Path, target: Path) -> None:
        if target == pictures[1]:
            raise PermissionError(13, "Permission denied")
        move(source, target)

    monkeypatch.setattr(shutil, "move", fail_for_one)
    with pytest.raises(DataError, match=r"2 pictures undone, 1 not: happy/1\.png: Permission denied"):
        undo(into)
    monkeypatch.undo()
    assert undo(into) == 1
    assert all(picture.exists() for picture in pictures)


def test_a_copy_that_fails_leaves_nothing(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(_: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", fill_the_disk)
    with pytest.raises(DataError, match="No space left"):
        sort(pictures, tmp_path / "sorted")
    assert not list((tmp_path / "sorted" / "happy").iterdir())


def test_pictures_are_not_moved_out_of_a_folder_that_may_not_be_changed(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK and access(path, mode))
    with pytest.raises(DataError, match="cannot be moved out of its folder"):
        sort(pictures, tmp_path / "sorted")
    assert all(picture.exists() for picture in pictures)
    assert not list((tmp_path / "sorted").rglob("*.png"))
