"""Every source gives the same table of samples."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.config import CONF, DatasetConfig, ManifestConfig, PrepareConfig, SourceConfig, SyntheticConfig, VotesConfig
from src.data.prepared import PreparedDataset, prepare
from src.data.sources import Listing, list_samples, manifest
from src.data.sources.folders import list_class_folders
from src.errors import DataError
from tests.composing import compose_config
from tests.picture_files import class_folders, config_of, picture, png


def listed(root: Path | None, **values: object) -> Listing:
    return list_samples(config_of(root, Path("unused"), **values))


def found(listing: Listing) -> dict[str, tuple[int, str | None]]:
    return {sample.path: (sample.label, sample.shipped_split) for sample in listing.samples}


def prepared(root: Path | None, tmp_path: Path, **values: object) -> PreparedDataset:
    return prepare(config_of(root, tmp_path / "cache", **values))


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


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


def make_zip(path: Path, root: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*.png")):
            archive.write(file, file.relative_to(root))


def test_a_zip_member_without_a_name_is_no_sample(tmp_path: Path) -> None:
    """Found by fuzzing: `ZipInfo.is_dir` raises IndexError for it."""
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for name in ("happy/0.png", "sad/0.png", ""):
            archive.writestr(zipfile.ZipInfo(name), png(len(name)))
    listing = list_class_folders(SourceConfig("mine", "folder", path=str(tmp_path / "faces.zip")))
    assert [sample.path for sample in listing.samples] == ["happy/0.png", "sad/0.png"]


def make_tar(path: Path, root: Path) -> None:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for file in sorted(root.rglob("*.png")):
            archive.add(file, file.relative_to(root))


@pytest.mark.parametrize("name", ["faces.zip", "faces.tar", "faces.tar.gz", "faces.tgz"])
def test_archives_give_what_the_folder_gives(tmp_path: Path, name: str) -> None:
    root = class_folders(tmp_path / "root", 5)
    (make_zip if name.endswith("zip") else make_tar)(tmp_path / name, root)
    folder, archive = prepared(root, tmp_path), prepared(tmp_path / name, tmp_path)
    assert archive.digest == folder.digest
    np.testing.assert_array_equal(archive.images, folder.images)
    assert archive.table["path"].tolist() == folder.table["path"].tolist()


def test_a_limited_archive_reads_the_right_members(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 10)
    make_tar(tmp_path / "faces.tar.gz", root)
    dataset = prepared(tmp_path / "faces.tar.gz", tmp_path, limit=8)
    for row, path in enumerate(dataset.table["path"]):
        expected = np.asarray(
            picture(int(Path(path).stem) + 10_000 * path.startswith("happy")).resize((16, 16), 2, reducing_gap=3.0)
        )
        np.testing.assert_array_equal(dataset.images[row], expected)


def hostile_zip(path: Path) -> None:
    link = zipfile.ZipInfo("happy/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(4):
            archive.writestr(f"happy/{number}.png", png(number))
            archive.writestr(f"sad/{number}.png", png(50 + number))
        archive.writestr("happy/../../../escape.png", png(90))
        archive.writestr("/happy/absolute.png", png(91))
        archive.writestr(link, "/etc/passwd")
        archive.writestr("happy/nested.zip", b"PK\x03\x04 not a picture at all")


def test_archives_cannot_reach_outside(tmp_path: Path) -> None:
    hostile_zip(tmp_path / "hostile.zip")
    dataset = prepared(tmp_path / "hostile.zip", tmp_path)
    assert len(dataset.table) == 8
    verdicts = dict(zip(dataset.rejected["path"], dataset.rejected["verdict"], strict=True))
    assert verdicts["happy/../../../escape.png"] == verdicts["happy/link.png"] == "unreadable"
    assert verdicts["happy/nested.zip"] == "not_an_image"
    assert not list(tmp_path.rglob("escape.png"))


def test_members_that_share_their_bytes_are_rejected(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "overlapping.zip", "w") as archive:
        for name in ("happy", "sad"):
            archive.writestr(f"{name}/0.png", png(len(name)))
            archive.filelist += archive.filelist[-1:] * 3
    listing = listed(tmp_path / "overlapping.zip")
    assert [sample.path for sample in listing.samples] == ["happy/0.png", "sad/0.png"]
    assert {rejection.detail for rejection in listing.rejections} == {
        "its bytes are those of another file of the archive too"
    }


def test_a_name_in_an_archive_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    make_zip(tmp_path / "names.zip", class_folders(tmp_path / "root", 2))
    with zipfile.ZipFile(tmp_path / "names.zip", "a") as archive:
        archive.writestr("happy/\u00fc.png", png(7))
    data = (tmp_path / "names.zip").read_bytes()
    (tmp_path / "names.zip").write_bytes(data.replace("\u00fc".encode(), b"\xb6\xb6"))
    with pytest.raises(DataError, match=r"names\.zip cannot be read as an archive"):
        listed(tmp_path / "names.zip")


def test_an_archive_that_grows_beyond_all_pictures_is_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as archive:
        for name in ("happy/0.png", "sad/0.png"):
            archive.writestr(name, png(len(name)))
            archive.filelist[-1].file_size = 130 << 30
    with pytest.raises(DataError, match=r"bomb\.zip: 279\.2 GB are packed into 0\.0 MB"):
        listed(tmp_path / "bomb.zip")


@pytest.mark.parametrize(
    ("name", "source", "content", "said"),
    [
        ("row.csv", "manifest", b"path,label\n" + b"x" * 3_000_000 + b",happy\n", "line 2 holds more than a megabyte"),
        ("row.csv", "fer2013", b"emotion,pixels\n3," + b"9 " * 600_000, "line 2 holds more than a megabyte"),
        ("rows.csv", "manifest", b"path,label\n" + b"a.png,happy\n" * 6, "line 6 is not the last one"),
    ],
)
def test_lists_that_no_pictures_have_are_rejected_before_they_fill_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str, content: bytes, said: str
) -> None:
    monkeypatch.setattr(manifest, "MAX_ROWS", 5)
    write(tmp_path / name, content)
    with pytest.raises(DataError, match=said):
        listed(tmp_path / name, source=source)


def test_a_parquet_manifest_of_too_many_rows_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pd.DataFrame(manifest_rows(tmp_path)).to_parquet(tmp_path / "list.parquet")
    monkeypatch.setattr(manifest, "MAX_ROWS", 2)
    with pytest.raises(DataError, match=r"rows of .* accepts 20,000,000 rows"):
        listed(tmp_path / "list.parquet", source="manifest")


def test_a_parquet_manifest_whose_notes_for_pandas_are_wrong_is_read(tmp_path: Path) -> None:
    """Found by fuzzing: pandas reads its own notes in the file unchecked."""
    rows = manifest_rows(tmp_path)
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"pandas": '{"index_columns": [{}], "columns": []}'})
    pq.write_table(table, tmp_path / "list.parquet")
    assert len(listed(tmp_path / "list.parquet", source="manifest").samples) == len(rows)


def test_a_damaged_member_is_one_rejected_picture(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 4)
    make_zip(tmp_path / "faces.zip", root)
    data = bytearray((tmp_path / "faces.zip").read_bytes())
    place = data.index(b"happy/002.png") + 40
    data[place : place + 30] = bytes(30)
    (tmp_path / "faces.zip").write_bytes(data)
    dataset = prepared(tmp_path / "faces.zip", tmp_path)
    assert dataset.rejected[["path", "verdict"]].to_numpy().tolist() == [["happy/002.png", "unreadable"]]


def test_a_broken_archive_is_one_clear_line(tmp_path: Path) -> None:
    write(tmp_path / "broken.zip", b"PK\x03\x04" + bytes(100))
    with pytest.raises(DataError, match=r"broken\.zip cannot be read as an archive"):
        listed(tmp_path / "broken.zip")


def write_manifest(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def manifest_rows(root: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for number, file in enumerate(sorted(class_folders(root, 6).rglob("*.png"))):
        path, label = str(file.relative_to(root)), file.parent.name
        split = ("train", "train", "val", "test")[number % 4]
        rows.append({"path": path, "label": label, "split": split, "group": f"p{number // 2}", "weight": 1 + number})
    return rows


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_manifest_with_all_columns(tmp_path: Path, suffix: str) -> None:
    rows = manifest_rows(tmp_path)
    path = tmp_path / f"list.{suffix}"
    if suffix == "csv":
        write_manifest(path, rows)
    else:
        pd.DataFrame(rows).to_parquet(path)
    listing = listed(path, source="manifest")
    first = listing.samples[3]
    assert (first.path, first.label, first.shipped_split) == ("happy/003.png", 1, "test")
    assert (first.subject, first.weight) == ("p1", 4.0)
    assert len(listing.samples) == 12


def test_column_splits_and_groups_of_a_manifest_are_obeyed(tmp_path: Path) -> None:
    rows = [
        row | {"split": ("train", "val", "test")[number % 3], "group": number}
        for number, row in enumerate(manifest_rows(tmp_path))
    ]
    write_manifest(tmp_path / "list.csv", rows)
    config = config_of(tmp_path / "list.csv", tmp_path / "cache", source="manifest")
    dataset = prepare(DatasetConfig(**(vars(config) | {"split": type(config.split)(method="column")})))
    wanted = {row["path"]: {"val": "validation"}.get(str(row["split"]), row["split"]) for row in rows}
    assert dict(zip(dataset.table["path"], dataset.table["split"], strict=True)) == wanted


def test_a_manifest_with_its_own_columns_and_root(tmp_path: Path) -> None:
    class_folders(tmp_path / "images", 1)
    rows = [
        {"image": "happy/000.png", "emotion": "HAPPINESS", "user.id": 7},
        {"image": "sad/000.png", "emotion": "sadness", "user.id": 8},
        {"image": "sad/000.png", "emotion": "anger", "user.id": 8},
    ]
    write_manifest(tmp_path / "legend.csv", rows)
    columns = ManifestConfig(path="image", label="emotion", group="user.id", root="images")
    listing = listed(
        tmp_path / "legend.csv", source="manifest", manifest=columns, positive="happiness", negative="sadness"
    )
    assert [(sample.label, sample.subject) for sample in listing.samples] == [(1, "7"), (0, "8")]
    assert listing.ignored == {"anger": 1}


def test_manifest_paths_stay_below_its_folder(tmp_path: Path) -> None:
    rows = manifest_rows(tmp_path / "root")
    write(tmp_path / "outside.png", png(99))
    paths = ["../outside.png", str(tmp_path / "outside.png"), "missing.png", "nul\0l.png"]
    rows += [rows[0] | {"path": path} for path in paths]
    write_manifest(tmp_path / "root" / "list.csv", rows)
    listing = listed(tmp_path / "root" / "list.csv", source="manifest")
    reasons = {rejection.path: rejection.detail for rejection in listing.rejections}
    assert (
        reasons["../outside.png"]
        == reasons[str(tmp_path / "outside.png")]
        == "a path that leaves the manifest's folder"
    )
    assert reasons["missing.png"] == "No such file or directory"
    assert len(listing.samples) == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "fold3"}, "accepts train, validation and test"),
        ({"weight": "heavy"}, "is no weight"),
        ({"target": "1.2"}, "'1.2' is no target; a number from 0 to 1 is needed"),
        ({"weight": "-1"}, "is no weight"),
    ],
)
def test_what_a_manifest_may_not_say(tmp_path: Path, change: dict[str, object], message: str) -> None:
    rows = manifest_rows(tmp_path)
    write_manifest(tmp_path / "list.csv", [row | change for row in rows])
    with pytest.raises(DataError, match=message):
        listed(tmp_path / "list.csv", source="manifest")


def test_targets_of_a_manifest_are_trained_towards_where_there_is_one(tmp_path: Path) -> None:
    rows = [row | {"target": (0.7, "")[number % 2]} for number, row in enumerate(manifest_rows(tmp_path))]
    config = config_of(tmp_path / "list.csv", tmp_path / "cache", source="manifest")
    write_manifest(tmp_path / "list.csv", [{**row, "target": ""} for row in rows])
    hard = prepare(config)
    write_manifest(tmp_path / "list.csv", rows)
    soft = prepare(config)
    assert "target" not in hard.table
    assert (hard.targets == hard.table["label"]).all()
    wanted = {str(row["path"]): float(row["target"] or row["label"] == "happy") for row in rows}
    assert soft.targets == pytest.approx([wanted[path] for path in soft.table["path"]])
    assert soft.digest != hard.digest


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
        ("name,happiness,sadness\na.png,1,2\n", "names none of the pictures, such as 'happy/000.png'"),
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
    (tmp_path / "votes.csv").write_text(VOTES)
    config = config_of(tmp_path / "faces.zip", tmp_path / "cache", votes=VotesConfig(path=str(tmp_path / "votes.csv")))
    first = prepare(config).targets
    (tmp_path / "votes.csv").write_text(VOTES.replace("6,2,2", "4,4,22"))
    assert not np.array_equal(prepare(config).targets, first)


@pytest.mark.parametrize(
    ("header", "said"), [("file,class", "file, class"), ('"a\nb",class', r"a\\nb, class")], ids=["plain", "two lines"]
)
def test_a_manifest_without_its_columns_names_those_it_has(tmp_path: Path, header: str, said: str) -> None:
    (tmp_path / "list.csv").write_text(f"{header}\na.png,happy\n")
    with pytest.raises(DataError, match=f"no column 'path'; there is {said}"):
        listed(tmp_path / "list.csv", source="manifest")


@pytest.mark.parametrize("in_splits", [False, True])
def test_a_metadata_image_folder(tmp_path: Path, in_splits: bool) -> None:
    for split in ("train", "test") if in_splits else ("",):
        class_folders(tmp_path / split, 2)
        files = sorted((tmp_path / split).rglob("*.png"))
        rows = [{"file_name": str(file.relative_to(tmp_path / split)), "label": file.parent.name} for file in files]
        write_manifest(tmp_path / split / "metadata.csv", [dict(row) for row in rows])
    listing = listed(tmp_path, source="metadata")
    assert len(listing.samples) == (8 if in_splits else 4)
    assert {sample.shipped_split for sample in listing.samples} == ({"train", "test"} if in_splits else {None})


def fer_line(seed: int, emotion: int, usage: str) -> str:
    pixels = np.asarray(picture(seed, 48).convert("L")).reshape(-1)
    return f"{emotion},{' '.join(map(str, pixels))},{usage}"


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_kaggles_csv(tmp_path: Path, quoted: bool, newline: str) -> None:
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
    np.testing.assert_array_equal(dataset.images[0, :, :, 0], np.asarray(picture(300, 48).convert("L")))
    assert dataset.ignored == {"angry": 7}


def test_broken_lines_of_kaggles_csv_get_verdicts(tmp_path: Path) -> None:
    good = [fer_line(100 * emotion + n, emotion, "Training") for emotion in (3, 4) for n in range(4)]
    bad = ["3,1 2 3,Training", "3,1 2 x 4,Training", "3,300 1 1 1,Training", "nonsense", "3,,Training"]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *good, *bad]))
    dataset = prepared(tmp_path / "fer2013.csv", tmp_path, source="fer2013")
    assert Counter(dataset.rejected["verdict"]) == {"truncated": 2, "unreadable": 2}


def test_fer_with_the_wrong_header(tmp_path: Path) -> None:
    write(tmp_path / "fer2013.csv", b"a,b,c\n1,2,3\n")
    with pytest.raises(DataError, match="must name the columns emotion, pixels"):
        listed(tmp_path / "fer2013.csv", source="fer2013")


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


def test_a_combination_needs_sources() -> None:
    with pytest.raises(DataError, match="names no source"):
        listed(None, source="combined")


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


def test_synthetic_faces_are_a_source() -> None:
    listing = listed(None, source="synthetic", synthetic=SyntheticConfig(count=10))
    assert [sample.label for sample in listing.samples] == [1, 0] * 5


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
    with pytest.raises(DataError, match=r"no pictures of class 'sad'.*there is sadness"):
        listed(tmp_path)


def test_relative_paths_count_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "here", 1)
    monkeypatch.chdir(tmp_path)
    assert len(listed(Path("here")).samples) == 4 // 2


def test_bytes_of_a_stream_are_never_more_than_allowed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "big.tar.gz", "w:gz") as archive:
        for name, data in [(f"{c}/{n}.png", png(n + 40 * (c == "sad"))) for c in ("happy", "sad") for n in range(4)]:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        huge = tarfile.TarInfo("happy/huge.png")
        huge.size = 3_000_000
        archive.addfile(huge, io.BytesIO(bytes(3_000_000)))
    dataset = prepared(tmp_path / "big.tar.gz", tmp_path, max_megabytes=1.0)
    assert dataset.rejected[["path", "verdict"]].to_numpy().tolist() == [["happy/huge.png", "too_large"]]


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
    assert [(sample.label, sample.shipped_split) for sample in listing.samples] == [
        (1, "train"),
        (0, "train"),
        (1, "test"),
        (0, "test"),
    ]
    assert listing.ignored == {"1": 1, "listed, but not there": 1}


def test_rafdb_as_class_folders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number in range(1, 8):
            write(tmp_path / "DATASET" / split / str(number) / "a.jpg", png(number))
    listing = listed(tmp_path, source="rafdb", positive="4", negative="5")
    assert {(sample.label, sample.shipped_split) for sample in listing.samples} == {
        (label, split) for label in (0, 1) for split in ("train", "test")
    }


def test_affectnet_as_published(tmp_path: Path) -> None:
    for folder in ("train_set", "val_set"):
        for number, expression in enumerate(["1", "2", "0"]):
            write(tmp_path / folder / "images" / f"{number}.jpg", png(number))
            (tmp_path / folder / "annotations").mkdir(exist_ok=True)
            np.save(tmp_path / folder / "annotations" / f"{number}_exp.npy", np.array(expression))
            np.save(tmp_path / folder / "annotations" / f"{number}_val.npy", np.array("0.5"))
    listing = listed(tmp_path, source="affectnet", positive="1", negative="2")
    assert [(sample.label, sample.shipped_split) for sample in listing.samples] == [
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


def test_a_compressed_tar_is_known_by_its_bytes(tmp_path: Path) -> None:
    make_tar(tmp_path / "faces.tar.gz", class_folders(tmp_path / "root", 2))
    (tmp_path / "faces.tar.gz").rename(tmp_path / "faces.tar")
    samples = listed(tmp_path / "faces.tar").samples
    assert [sample.locator.read(4) for sample in samples] == [b"\x89PNG"] * 4


@pytest.mark.parametrize("values", [{"group_pattern": r"(\d+)"}, {"votes": VotesConfig(path="votes.csv")}])
def test_where_no_class_is_found_that_is_said_first(tmp_path: Path, values: dict[str, object]) -> None:
    write(tmp_path / "glad" / "0.png", png(0))
    with pytest.raises(DataError, match="no pictures in folders named 'happy' and 'sad'"):
        listed(tmp_path, **values)


def test_a_home_that_nobody_has_is_one_line() -> None:
    with pytest.raises(DataError, match="No such file"):
        listed(Path("~nobody-by-this-name/photos"))


def test_a_file_that_becomes_readable_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = listed(class_folders(tmp_path, 2)).samples[0]
    readable = sample.locator.signature
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert sample.locator.signature != readable


def test_json_lines_are_text(tmp_path: Path) -> None:
    rows = [{**row, "group": f"00{number}"} for number, row in enumerate(manifest_rows(tmp_path))]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    listing = listed(tmp_path / "list.jsonl", source="manifest")
    assert {sample.subject for sample in listing.samples} == {row["group"] for row in rows}
