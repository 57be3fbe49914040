"""Class folders, and what holds for every source."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from src.errors import DataError
from src.runtime.predictor import list_images
from tests.data.listing import found, listed, prepared, write
from tests.image_files import class_folders, png


def test_classes_may_be_named_anything_and_others_are_counted(tmp_path: Path) -> None:
    for folder, count in (("Cats", 2), ("dogs", 3), ("birds", 4)):
        for number in range(count):
            write(tmp_path / folder / f"{number}.png", png(number))
    write(tmp_path / "README.txt", b"hello")
    listing = listed(tmp_path, positive="dogs", negative="cats")
    assert Counter(sample.label for sample in listing.samples) == {1: 3, 0: 2}
    assert listing.ignored == {"birds": 4, ".": 1}


SPLIT_FOLDERS = [
    ("train", "validation", "test"),
    ("Training", "val", "testing"),
    ("training_set/training_set", "Valid-Images", "test_set/test_set"),
]


@pytest.mark.parametrize("names", SPLIT_FOLDERS)
def test_ready_splits_are_known_by_the_names_that_people_give_them(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        class_folders(tmp_path / name, 1)
    splits = {path: split for path, (_, split) in found(listed(tmp_path)).items()}
    wanted = dict(zip(names, ("train", "validation", "test"), strict=True))
    assert splits == {f"{name}/{kind}/000.png": wanted[name] for name in names for kind in ("happy", "sad")}


def test_hidden_and_system_files_are_counted_and_never_used(tmp_path: Path) -> None:
    class_folders(tmp_path, 2)
    for name in ("sad/.ipynb_checkpoints/0.png", "sad/@eaDir/0.png/thumb.jpg", "__MACOSX/sad/._0.png", "sad/.DS_Store"):
        write(tmp_path / name, png(7))
    listing = listed(tmp_path)
    assert (len(listing.samples), listing.ignored) == (4, {"hidden and system files": 4})
    shown = [image.path for image in list_images([str(tmp_path)], recursive=True)]
    assert shown == [str(tmp_path / kind / f"00{number}.png") for kind in ("happy", "sad") for number in (0, 1)]


def test_composed_and_decomposed_letters_name_one_class(tmp_path: Path) -> None:
    write(tmp_path / unicodedata.normalize("NFD", "fröhlich") / "0.png", png(0))
    write(tmp_path / "traurig" / "0.png", png(1))
    listing = listed(tmp_path, positive=unicodedata.normalize("NFC", "fröhlich"), negative="traurig")
    assert sorted(sample.label for sample in listing.samples) == [0, 1]


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


def test_links_that_leave_the_root_and_pipes_are_rejected(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 4)
    write(tmp_path / "secret.png", png(77))
    (root / "happy" / "away.png").symlink_to(tmp_path / "secret.png")
    (root / "happy" / "inside.png").symlink_to(root / "happy" / "000.png")
    (root / "happy" / "broken.png").symlink_to(root / "nothing.png")
    (root / "happy" / "loop").symlink_to(root)
    os.mkfifo(root / "sad" / "pipe.png")
    dataset = prepared(root, tmp_path)
    rejected = dict(zip(dataset.rejected["path"], dataset.rejected["detail"], strict=True))
    assert rejected["happy/away.png"] == "a symbolic link that leaves the data's folder"
    assert rejected["happy/inside.png"] == "happy/000.png"  # the very same file
    assert rejected["happy/broken.png"] == "No such file or directory"
    assert rejected["happy/loop"] == "a symbolic link to a folder"
    assert rejected["sad/pipe.png"] == "not a regular file"


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


@pytest.mark.parametrize(
    ("files", "path", "values", "message"),
    [
        (["notes.txt"], "missing", {}, "No such file or directory"),
        (["notes.txt"], "notes.txt", {}, "neither a folder nor"),
        (["notes.txt"], None, {}, "no value given"),
        ([], "", {}, "is empty"),
        (["glad/0.png"], "", {"group_pattern": r"(\d+)"}, "no images in folders named 'happy' and 'sad'"),
        (["happy/0.png", "sadness/0.png"], "", {}, "no images of class 'sad'.*there is sadness"),
        (["happy/0.png", "sad/0.png"], "", {"group_pattern": "("}, "no regular expression"),
        (["happy/0.png", "sad/0.png"], "", {"group_pattern": "zebra"}, "finds nothing"),
    ],
)
def test_a_source_that_cannot_be_used_says_why(
    tmp_path: Path, files: list[str], path: str | None, values: dict[str, object], message: str
) -> None:
    for number, name in enumerate(files):
        write(tmp_path / name, png(number))
    with pytest.raises(DataError, match=message):
        listed(None if path is None else tmp_path / path, **values)


def test_a_file_that_becomes_readable_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = listed(class_folders(tmp_path, 2)).samples[0]
    readable = sample.locator.signature
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert sample.locator.signature != readable
