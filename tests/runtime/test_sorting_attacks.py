"""Sorted folders that come from someone else: undoing them must neither delete nor write anything."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.trained_model import Run

LOG = "sorted.jsonl"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of the user's that no sorting made."""
    file = tmp_path / "home" / "thesis.txt"
    file.parent.mkdir()
    file.write_text("years of work")
    return file


@pytest.fixture
def sorted_folder(predict: Run, album: Path, tmp_path: Path) -> Path:
    """Images that the user moved into a folder of their own."""
    predict(album, "--sort-into", tmp_path / "sorted", "--move")
    return tmp_path / "sorted"


def rejected(predict: Run, folder: Path, said: str) -> None:
    before = {path: path.lstat().st_size for path in folder.parent.rglob("*")}
    result = predict("--undo", folder)
    assert (result.code, result.lines) == (1, [])
    assert said in result.error
    assert "\n" not in result.error
    assert {path: path.lstat().st_size for path in folder.parent.rglob("*")} == before


@pytest.mark.parametrize("mode", ["copy", "link", "move"])
@pytest.mark.parametrize("signature", [None, "", "0" * 64, 7])
def test_lines_that_the_user_did_not_write_are_not_obeyed(
    predict: Run, sorted_folder: Path, victim: Path, mode: str, signature: object
) -> None:
    (sorted_folder / "happy").mkdir(exist_ok=True)
    (sorted_folder / "happy" / "evil").write_text("ssh-rsa of the attacker")
    for target, source in (
        (os.path.relpath(victim, sorted_folder), "/nowhere"),
        (str(victim), "/nowhere"),
        ("happy/evil", str(victim.with_name(".authorized_keys"))),
    ):
        entry = {"source": source, "target": target, "mode": mode, "signature": signature}
        (sorted_folder / LOG).write_text(json.dumps(entry) + "\n")
        rejected(predict, sorted_folder, "line 1 was not written by your sorting into this folder")


def test_a_log_is_good_for_its_own_folder_only(predict: Run, sorted_folder: Path, album: Path) -> None:
    foreign = shutil.copytree(sorted_folder, sorted_folder.with_name("foreign"))
    for image in (path for path in foreign.rglob("*.*") if path.suffix != ".jsonl"):
        image.write_text("something else")
    rejected(predict, foreign, "was not written by your sorting into this folder")
    assert predict("--undo", sorted_folder).code == 0
    assert (album / "a.png").exists()


@pytest.mark.parametrize(
    "line", ["{", "[]", "null", "{}", '{"source": 1}', "\0", '{"target": ["a"], "mode": {}}', "[" * 9999]
)
def test_odd_lines_are_one_line(predict: Run, sorted_folder: Path, line: str) -> None:
    log = sorted_folder / LOG
    log.write_text(line + "\n" + log.read_text())
    rejected(predict, sorted_folder, "line 1")


@pytest.mark.usefixtures("alarm")
def test_a_log_that_is_no_regular_file_is_not_opened(predict: Run, sorted_folder: Path, victim: Path) -> None:
    (sorted_folder / LOG).unlink()
    os.mkfifo(sorted_folder / LOG)
    rejected(predict, sorted_folder, "no regular file")
    (sorted_folder / LOG).unlink()
    (sorted_folder / LOG).symlink_to(victim)
    rejected(predict, sorted_folder, "no regular file")


def test_a_class_folder_that_became_a_link_leads_nowhere(
    predict: Run, sorted_folder: Path, album: Path, victim: Path
) -> None:
    for folder in [path for path in sorted_folder.iterdir() if path.is_dir()]:
        for image in folder.iterdir():
            shutil.copy(victim, victim.with_name(image.name))
        shutil.rmtree(folder)
        folder.symlink_to(victim.parent)
    rejected(predict, sorted_folder, "leads out of the folder")


def test_images_are_not_sorted_through_a_link(predict: Run, album: Path, tmp_path: Path, victim: Path) -> None:
    target = tmp_path / "planted"
    target.mkdir()
    for name in ("happy", "sad", "unsure", "rejected"):
        (target / name).symlink_to(victim.parent)
    result = predict(album, "--sort-into", target)
    assert (result.code, "a link" in result.error) == (1, True)
    assert list(victim.parent.iterdir()) == [victim]
