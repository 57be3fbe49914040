"""Data sets as they are published, votes, and several sources together."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from src.config import CONF, DatasetConfig, PrepareConfig, SourceConfig, SyntheticConfig, VotesConfig
from src.data.prepared import prepare
from src.errors import DataError
from tests.composing import compose_config
from tests.data.listing import listed, prepared, write
from tests.image_files import class_folders, config_of, image, png

VOTES = "part,name,happiness,sadness,anger\ntrain,000.png,6,2,2\ntrain,001.png,0,0,9\n"


def test_votes_become_targets_and_weights(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text(VOTES)
    root, votes = class_folders(tmp_path / "root", 3), VotesConfig(path=str(tmp_path / "votes.csv"))
    samples = {sample.path: sample for sample in listed(root, votes=votes).samples}
    happy, sad = samples["happy/000.png"], samples["sad/000.png"]
    assert (happy.target, happy.weight) == pytest.approx((7 / 9, 9 / 11))
    assert (sad.target, sad.weight) == pytest.approx((6 / 9, 9 / 11))
    assert (samples["sad/001.png"].target, samples["sad/001.png"].weight) == pytest.approx((0, 1 / 10))
    assert (samples["happy/002.png"].target, samples["happy/002.png"].weight) == (None, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,happiness\na.png,1\n", "no column 'sadness'; there is name, happiness"),
        ("name,happiness,sadness\na.png,1,2\n", "names none of the images, such as 'happy/000.png'"),
        ("name,happiness,sadness\n000.png,many,2\n", "votes must be numbers of at least 0"),
        ("name,happiness,sadness\n000.png,-1,2\n", "votes must be numbers of at least 0"),
        (None, "No such file or directory"),
    ],
)
def test_what_votes_may_not_say(tmp_path: Path, text: str | None, message: str) -> None:
    if text:
        (tmp_path / "votes.csv").write_text(text)
    votes = VotesConfig(path=str(tmp_path / "votes.csv"))
    with pytest.raises(DataError, match=message):
        listed(class_folders(tmp_path / "root", 1), votes=votes)


def test_other_votes_prepare_an_archive_anew(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for file in sorted(class_folders(tmp_path / "root").rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path / "root"))
    votes = VotesConfig(path=str(tmp_path / "votes.csv"))
    write(tmp_path / "votes.csv", VOTES.encode())
    first = prepared(tmp_path / "faces.zip", tmp_path, votes=votes).targets
    write(tmp_path / "votes.csv", VOTES.replace("6,2,2", "4,4,22").encode())
    assert not np.array_equal(prepared(tmp_path / "faces.zip", tmp_path, votes=votes).targets, first)


def fer_line(seed: int, emotion: int, usage: str) -> str:
    pixels = np.asarray(image(seed, 48).convert("L")).reshape(-1)
    return f"{emotion},{' '.join(map(str, pixels))},{usage}"


@pytest.mark.parametrize("quoted", [False, True])
def test_kaggles_csv(tmp_path: Path, quoted: bool) -> None:
    newline = "\r\n" if quoted else "\n"
    usages = ["Training"] * 5 + ["PublicTest", "PrivateTest"]
    lines = [fer_line(100 * emotion + n, emotion, usage) for emotion in (3, 4, 0) for n, usage in enumerate(usages)]
    if quoted:
        lines = [",".join(f'"{cell}"' if n == 1 else cell for n, cell in enumerate(line.split(","))) for line in lines]
    (tmp_path / "fer2013.csv").write_bytes(newline.join(["emotion,pixels,Usage", *lines, ""]).encode())
    config = config_of(tmp_path / "fer2013.csv", tmp_path / "cache", source="fer2013", image_size=48)
    dataset = prepare(DatasetConfig(**(vars(config) | {"split": type(config.split)(method="source")})))
    assert Counter(zip(dataset.table["label"], dataset.table["split"], strict=True)) == {
        (label, split): count for label in (0, 1) for split, count in (("train", 5), ("validation", 1), ("test", 1))
    }
    np.testing.assert_array_equal(dataset.images[0, :, :, 0], np.asarray(image(300, 48).convert("L")))
    assert dataset.ignored == {"angry": 7}


def test_broken_lines_of_kaggles_csv_get_verdicts(tmp_path: Path) -> None:
    good = [fer_line(100 * emotion + n, emotion, "Training") for emotion in (3, 4) for n in range(4)]
    bad = ["3,1 2 3,Training", "3,1 2 x 4,Training", "3,300 1 1 1,Training", "nonsense", "3,,Training"]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *good, *bad]))
    dataset = prepared(tmp_path / "fer2013.csv", tmp_path, source="fer2013")
    assert Counter(dataset.rejected["verdict"]) == {"truncated": 2, "unreadable": 2}


def test_several_sources_together_keep_their_names_and_weights(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos", 4)
    sources = {
        "photos": SourceConfig(name="photos", source="folder", path=str(tmp_path / "photos"), weight=2.0),
        "faces": SourceConfig(name="faces", source="synthetic", synthetic=SyntheticConfig(count=12)),
    }
    dataset = prepared(None, tmp_path, source="combined", sources=sources)
    counts = dataset.table.groupby(["source", "weight"]).size().to_dict()
    assert counts == {("photos", 2.0): 8, ("faces", 1.0): 12}
    assert dataset.table["skin_tone"].notna().sum() == 12


def rafdb(root: Path) -> Path:
    lines = []
    for number, (name, label) in enumerate([("train", 4), ("train", 5), ("test", 4), ("test", 5), ("train", 1)]):
        write(root / "Image" / "aligned" / f"{name}_0000{number}_aligned.jpg", png(number))
        lines.append(f"{name}_0000{number}.jpg {label}")
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join([*lines, "train_9.jpg 4", ""]))
    return root


def test_rafdb_as_published(tmp_path: Path) -> None:
    listing = listed(rafdb(tmp_path), source="rafdb", positive="4", negative="5")
    found = [(sample.label, sample.shipped_split) for sample in listing.samples]
    assert found == [
        (1, "train"),
        (0, "train"),
        (1, "test"),
        (0, "test"),
    ]
    assert listing.ignored == {"1": 1, "listed, but not there": 1}


def test_affectnet_as_published(tmp_path: Path) -> None:
    for folder in ("train_set", "val_set"):
        for number, expression in enumerate(["1", "2", "0"]):
            write(tmp_path / folder / "images" / f"{number}.jpg", png(number))
            (tmp_path / folder / "annotations").mkdir(exist_ok=True)
            np.save(tmp_path / folder / "annotations" / f"{number}_exp.npy", np.array(expression))
            np.save(tmp_path / folder / "annotations" / f"{number}_val.npy", np.array("0.5"))
    listing = listed(tmp_path, source="affectnet", positive="1", negative="2")
    found = [(sample.label, sample.shipped_split) for sample in listing.samples]
    assert found == [
        (1, "train"),
        (0, "train"),
        (1, "validation"),
        (0, "validation"),
    ]
    assert listing.ignored == {"0": 2}


def test_every_dataset_config_composes_and_says_where_it_comes_from() -> None:
    for file in sorted((CONF / "dataset").glob("*.yaml")):
        config = compose_config(f"dataset={file.stem}", schema=PrepareConfig, name="prepare")
        assert config.dataset.name == file.stem
        header = file.read_text()
        if file.stem in ("fer2013", "tutorial", "facial_expressions", "rafdb", "affectnet"):
            assert all(f"# {word}: " in header for word in ("Home", "License", "Cite"))
