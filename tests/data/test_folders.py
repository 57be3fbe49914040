"""Class folders, and what holds for every source."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from src.config import VotesConfig
from src.errors import DataError
from tests.data.listing import found, listed, prepared, write
from tests.image_files import class_folders, png


def test_class_folders(tmp_path: Path) -> None:
    listing = listed(class_folders(tmp_path, 2))
    assert found(listing) == {
        "happy/000.png": (1, None),
        "happy/001.png": (1, None),
        "sad/000.png": (0, None),
        "sad/001.png": (0, None),
    }


def test_classes_may_be_named_anything_and_others_are_counted(tmp_path: Path) -> None:
    for folder, count in (("Cats", 2), ("dogs", 3), ("birds", 4)):
        for number in range(count):
            write(tmp_path / folder / f"{number}.png", png(number))
    write(tmp_path / "README.txt", b"hello")
    listing = listed(tmp_path, positive="dogs", negative="cats")
    assert Counter(sample.label for sample in listing.samples) == {1: 3, 0: 2}
    assert listing.ignored == {"birds": 4, ".": 1}


@pytest.mark.parametrize(
    "names", [("train", "validation", "test"), ("Training", "val", "Test"), ("train", "valid", "testing")]
)
def test_ready_splits(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for name in names:
        class_folders(tmp_path / name, 1)
    splits = {sample.shipped_split for sample in listed(tmp_path).samples}
    assert splits == {"train", "validation", "test"}


def test_folders_below_and_around_the_class_folders(tmp_path: Path) -> None:
    class_folders(tmp_path / "dataset" / "faces", 1)
    write(tmp_path / "dataset" / "faces" / "happy" / "more" / "deep.png", png(5))
    assert found(listed(tmp_path))["dataset/faces/happy/more/deep.png"] == (1, None)


def test_odd_names_are_only_names(tmp_path: Path) -> None:
    class_folders(tmp_path, 4)
    odd = ["two words.png", "smile 😀.png", "line\nbreak.png", "-rf.png", "a;b&c.png", "'quote\".png"]
    for number, name in enumerate(odd):
        write(tmp_path / "happy" / name, png(100 + number))
    if os.name == "posix":
        Path(os.fsdecode(os.fsencode(tmp_path / "happy") + b"/latin\xe9.png")).write_bytes(png(200))
    dataset = prepared(tmp_path, tmp_path)
    assert (dataset.table["label"] == 1).sum() == 4 + len(odd) + (os.name == "posix")
    assert dataset.rejected.empty


def test_links_that_leave_the_root_are_rejected(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 4)
    write(tmp_path / "secret.png", png(77))
    (root / "happy" / "away.png").symlink_to(tmp_path / "secret.png")
    (root / "happy" / "inside.png").symlink_to(root / "happy" / "000.png")
    (root / "happy" / "broken.png").symlink_to(root / "nothing.png")
    (root / "happy" / "loop").symlink_to(root)
    dataset = prepared(root, tmp_path)
    rejected = dict(zip(dataset.rejected["path"], dataset.rejected["detail"], strict=True))
    assert rejected["happy/away.png"] == "a symbolic link that leaves the data's folder"
    assert rejected["happy/inside.png"] == "happy/000.png"  # the very same file
    assert rejected["happy/broken.png"] == "No such file or directory"
    assert rejected["happy/loop"] == "a symbolic link to a folder"


def test_pipes_and_unreadable_files_do_not_hang(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 4)
    os.mkfifo(root / "sad" / "pipe.png")
    dataset = prepared(root, tmp_path)
    assert dataset.rejected[["path", "verdict"]].to_numpy().tolist() == [["sad/pipe.png", "unreadable"]]


def test_a_pattern_finds_the_subject_in_the_path(tmp_path: Path) -> None:
    for number in range(12):
        for folder in ("happy", "sad"):
            name = f"person{number % 6}_{number}_{folder}.png"
            write(tmp_path / "root" / folder / name, png(number + 100 * (folder == "sad")))
    dataset = prepared(tmp_path / "root", tmp_path, group_pattern=r"(person\d+)_")
    assert dataset.table["group"].nunique() == 6
    people = dataset.table["path"].str.extract(r"(person\d+)")[0]
    assert (dataset.table["split"].groupby(people).nunique() == 1).all()
    assert not dataset.table["conflict"].any()  # one person may well be happy and sad


@pytest.mark.parametrize(("pattern", "message"), [("(", "no regular expression"), ("zebra", "finds nothing")])
def test_a_pattern_that_cannot_work(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        listed(class_folders(tmp_path, 1), group_pattern=pattern)


def test_an_empty_folder_and_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is empty"):
        listed(tmp_path / "empty")
    with pytest.raises(DataError, match="No such file or directory"):
        listed(tmp_path / "missing")
    with pytest.raises(DataError, match="no value given"):
        listed(None)
    write(tmp_path / "notes.txt", b"hello")
    with pytest.raises(DataError, match="neither a folder nor"):
        listed(tmp_path / "notes.txt")


def test_one_class_only_says_what_there_is(tmp_path: Path) -> None:
    class_folders(tmp_path, 2)
    (tmp_path / "sad").rename(tmp_path / "sadness")
    with pytest.raises(DataError, match=r"no images of class 'sad'.*there is sadness"):
        listed(tmp_path)


def test_relative_paths_count_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "here", 1)
    monkeypatch.chdir(tmp_path)
    assert len(listed(Path("here")).samples) == 4 // 2


@pytest.mark.parametrize("values", [{"group_pattern": r"(\d+)"}, {"votes": VotesConfig(path="votes.csv")}])
def test_where_no_class_is_found_that_is_said_first(tmp_path: Path, values: dict[str, object]) -> None:
    write(tmp_path / "glad" / "0.png", png(0))
    with pytest.raises(DataError, match="no images in folders named 'happy' and 'sad'"):
        listed(tmp_path, **values)


def test_a_home_that_nobody_has_is_one_line() -> None:
    with pytest.raises(DataError, match="No such file"):
        listed(Path("~nobody-by-this-name/photos"))


def test_a_file_that_becomes_readable_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = listed(class_folders(tmp_path, 2)).samples[0]
    readable = sample.locator.signature
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert sample.locator.signature != readable
