"""Images of neither class: listed and prepared behind those of the two, trained on where that leaks nothing."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.config import VotesConfig
from src.data.prepared import PreparedDataset, prepare
from src.data.samples import AUXILIARY_LABEL
from src.errors import DataError
from src.evaluation.leaks import fitted_on
from src.reports.data_report import data_report
from tests.image_files import class_folders, config_of, png

VOTES = "name,happiness,sadness,neutral,fear\n000.png,6,2,1,0\n001.png,2,0,6,2\n002.png,0,0,1,1\n"


def three_classes(root: Path, count: int = 6) -> Path:
    """`class_folders`, and as many images again of a third class."""
    class_folders(root, count)
    (root / "neutral").mkdir()
    for number in range(count):
        (root / "neutral" / f"{number:03d}.png").write_bytes(png(20_000 + number))
    return root


def prepared(root: Path, cache: Path, **values: object) -> PreparedDataset:
    return prepare(config_of(root, cache, auxiliary=["neutral"], **values))


def test_images_of_neither_class_come_behind_the_table(tmp_path: Path) -> None:
    root = three_classes(tmp_path / "root")
    (root / "happy" / "000.png").write_bytes(b"no image")  # whose place is filled up
    dataset = prepared(root, tmp_path / "cache")
    found = dataset.auxiliary
    assert found is not None
    assert len(dataset.table) == 11
    assert set(dataset.table["label"]) == {0, 1}
    assert len(dataset.images) == 17
    assert sorted(found.classes) == ["happy", "neutral", "sad"]
    assert found.rows.tolist() == list(range(11, 17))
    for row, path in zip(found.rows, found.table["path"], strict=True):
        with Image.open(root / path) as image:
            wanted = np.asarray(image.convert("RGB").resize((16, 16), Image.Resampling.LANCZOS), int)
        assert np.abs(dataset.images[row].astype(int) - wanted).mean() < 12, path
    of_class = dict(zip(found.classes, found.shares.T, strict=True))
    assert (of_class["neutral"] == [0] * 11 + [1] * 6).all()
    assert (of_class["happy"][:11] == dataset.table["label"]).all()
    assert (found.weights == 0).all()


def test_images_of_neither_class_are_read_out_of_a_compressed_archive(tmp_path: Path) -> None:
    root = three_classes(tmp_path / "root").rename(tmp_path / "angry")
    (root / "neutral").rename(root / "angry")  # listed before the two classes
    with tarfile.open(tmp_path / "faces.tar.gz", "w:gz") as archive:
        for name in ("angry", "happy", "sad"):
            archive.add(root / name, name)
    packed, loose = (
        prepare(config_of(place, tmp_path / cache, auxiliary=["angry"]))
        for place, cache in ((tmp_path / "faces.tar.gz", "packed"), (root, "loose"))
    )
    assert packed.digest == loose.digest
    assert packed.auxiliary is not None
    np.testing.assert_array_equal(packed.images, loose.images)
    assert packed.paths == loose.paths == [*loose.table["path"], *packed.auxiliary.table["path"]]


def test_a_copy_of_an_evaluated_image_is_not_trained_on(tmp_path: Path) -> None:
    root = three_classes(tmp_path / "root")
    table = prepared(root, tmp_path / "cache").table
    for number, split in enumerate(("train", "validation", "test")):
        path = table.loc[table["split"] == split, "path"].iloc[0]
        with Image.open(root / path) as image:
            image.convert("RGB").save(root / "neutral" / f"copy{number}.png", compress_level=0)
    found = prepared(root, tmp_path / "other").auxiliary
    assert found is not None
    trained = set(found.trained["path"])
    assert len(found.table) == 9
    assert {f"neutral/copy{number}.png" for number in range(3)} & trained == {"neutral/copy0.png"}


def test_votes_say_what_the_head_learns(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text(VOTES)
    votes = VotesConfig(path=str(tmp_path / "votes.csv"), others=["neutral", "fear"], min_count=2)
    dataset = prepared(three_classes(tmp_path / "root", 4), tmp_path / "cache", votes=votes)
    found = dataset.auxiliary
    assert found is not None

    def shares(row: int) -> dict[str, float]:
        values = dict(zip(found.classes, found.shares[row].tolist(), strict=True))
        return {name: value for name, value in values.items() if value}

    rows = {path: row for row, path in enumerate([*dataset.table["path"], *found.table["path"]])}
    assert shares(rows["happy/000.png"]) == pytest.approx({"happiness": 7 / 9, "sadness": 2 / 9})  # its label is a vote
    assert shares(rows["sad/003.png"]) == {"sadness": 1}  # nobody has voted
    assert shares(rows["happy/002.png"]) == {"happiness": 1}  # no vote counts
    assert shares(rows["neutral/001.png"]) == pytest.approx({"happiness": 0.2, "neutral": 0.6, "fear": 0.2})
    assert {"neutral/000.png", "neutral/001.png"} == set(found.table["path"])  # nothing is known of the others
    assert dataset.ignored["without votes"] == 2
    one = rows["neutral/001.png"] - len(dataset.table)
    assert (found.targets[one], found.weights[one]) == pytest.approx((1, 0.2))


@pytest.mark.parametrize("names", [["happy"], ["neutral", "Neutral"]])
def test_a_class_is_named_once(tmp_path: Path, names: list[str]) -> None:
    config = config_of(class_folders(tmp_path / "root"), tmp_path / "cache", auxiliary=names)
    with pytest.raises(DataError, match="names a class twice, or one of the two classes"):
        prepare(config)


def test_a_bad_file_of_an_auxiliary_class_is_of_neither(tmp_path: Path) -> None:
    root = three_classes(tmp_path / "root")
    for name in ("angry", "calm", "tired"):
        (root / name).mkdir()
        (root / name / "0.png").write_bytes(png(30_000 + ord(name[0])))
        (root / name / "out.png").symlink_to(tmp_path / "elsewhere.png")
    config = config_of(root, tmp_path / "cache", auxiliary=["neutral", "angry", "calm", "tired"])
    dataset = prepare(config)
    assert set(dataset.rejected["label"]) == {AUXILIARY_LABEL}
    page = data_report(dataset, config).page.read_text(encoding="utf-8")
    assert page.count("<td>neither class</td>") == 3


def test_what_is_shipped_for_evaluation_is_not_trained_on_and_the_rest_is_remembered(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "validation", "test")):
        three_classes(tmp_path / "root" / split, 4 + number)
    dataset = prepared(tmp_path / "root", tmp_path / "cache")
    assert dataset.auxiliary is not None
    assert {path.split("/")[0] for path in dataset.auxiliary.trained["path"]} == {"train"}
    seen = fitted_on(dataset)
    assert set(dataset.auxiliary.trained["sha256"]) <= set(seen.loc[seen["split"] == "train", "sha256"])
