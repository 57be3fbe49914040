"""Lists of images: manifests and metadata files."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.config import DatasetConfig, ManifestConfig
from src.data import tables
from src.data.prepared import prepare
from src.errors import DataError
from tests.data.listing import listed, measured_peak, needs_linux, write, write_shared_values
from tests.image_files import class_folders, config_of, png


@pytest.mark.parametrize(
    ("name", "source", "content", "said"),
    [
        (
            "row.csv",
            "manifest",
            b"path,label\n" + b"x" * 3_000_000 + b",happy\n",
            "line 2 holds more than a megabyte",
        ),
        ("row.csv", "fer2013", b"emotion,pixels\n3," + b"9 " * 600_000, "line 2 holds more than a megabyte"),
        ("rows.csv", "manifest", b"path,label\n" + b"a.png,happy\n" * 6, "line 6 is not the last one"),
        ("fer.csv", "fer2013", b"a,b,c\n1,2,3\n", "must name the columns emotion, pixels"),
        ("list.csv", "manifest", b"file,class\na.png,happy\n", "no column 'path'; there is file, class"),
        ("list.csv", "manifest", b'"a\nb",class\na.png,happy\n', r"there is a\\nb, class"),
        ("list.csv", "manifest", b"path,label\na.png,happy,7\n", "line 2 has 3 cells, its header 2"),
        ("list.jsonl", "manifest", b'["a.png"]', "line 1 is no JSON object"),
        ("list.jsonl", "manifest", b"[" * 100_000, "cannot be read as a table"),
        ("list.csv", "manifest", b"path,label,split\na.png,happy,fold3\n", "accepts train, validation and test"),
        ("list.csv", "manifest", b"path,label,weight\na.png,happy,-1\n", "'-1' is no weight"),
        ("list.csv", "manifest", b"path,label,target\na.png,happy,1.2\n", "a number from 0 to 1 is needed"),
    ],
)
def test_a_list_that_cannot_be_one_of_images_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str, content: bytes, said: str
) -> None:
    monkeypatch.setattr(tables, "MAX_ROWS", 5)
    write(tmp_path / name, content)
    write(tmp_path / "a.png", png(0))
    with pytest.raises(DataError, match=said):
        listed(tmp_path / name, source=source)


def test_of_columns_of_one_name_the_first_counts_however_many_there_are(tmp_path: Path) -> None:
    write(tmp_path / "a.png", png(0))
    write(tmp_path / "b.png", png(1))
    names, cells = ",".join(["path", "label"] * 20_000), "c.png,neither," * 19_999
    write(tmp_path / "list.csv", f"{names}\na.png,happy,{cells}\nb.png,sad,{cells}\n".encode())
    began = time.process_time()
    assert [sample.path for sample in listed(tmp_path / "list.csv", source="manifest").samples] == ["a.png", "b.png"]
    assert time.process_time() - began < 2


@needs_linux
@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'path,label\n"' + b"x\n" * 30_000_000, "field larger than field limit"),
        (b"path,label\n" + b'"x\n",' * 10_000_000, "the row in line .* holds more than a megabyte"),
        (b'"' + b"x\n" * 30_000_000, "field larger than field limit"),
    ],
)
def test_a_row_that_goes_over_many_lines_costs_little(tmp_path: Path, content: bytes, line: str) -> None:
    write(tmp_path / "list.csv", content)
    with measured_peak() as peak, pytest.raises(DataError, match=line):
        listed(tmp_path / "list.csv", source="manifest")
    assert peak[0] < 40


@needs_linux
@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"path": "x" * 900_000, "label": "happy"}, "GB are packed into 0.0 MB"),
        ({"path": "a.png", "label": "x" * 900_000}, "GB are packed into 0.0 MB"),
        ({"path": "a.png", "label": "happy", "notes": "x" * 900_000}, "no images of class 'sad'"),
    ],
)
def test_a_value_that_a_file_has_once_for_all_rows_costs_little(
    tmp_path: Path, columns: dict[str, str], line: str
) -> None:
    write(tmp_path / "a.png", png(0))
    write_shared_values(tmp_path / "list.parquet", 10_000, **columns)
    with measured_peak() as peak, pytest.raises(DataError, match=line):
        listed(tmp_path / "list.parquet", source="manifest")
    assert peak[0] < 60


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


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_manifest_with_all_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    rows = manifest_rows(tmp_path)
    path = tmp_path / f"list.{suffix}"
    if suffix == "csv":
        write_manifest(path, rows)
    elif suffix == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    else:  # pandas' own notes in the file may be wrong, and must not be read
        table = pa.Table.from_pylist(rows)
        pq.write_table(table.replace_schema_metadata({"pandas": '{"index_columns": [{}], "columns": []}'}), path)
    listing = listed(path, source="manifest")
    first = listing.samples[3]
    assert (first.path, first.label, first.shipped_split) == ("happy/003.png", 1, "test")
    assert (first.subject, first.weight) == ("p1", 4.0)
    assert len(listing.samples) == 12
    monkeypatch.setattr(tables, "MAX_ROWS", 2)
    with pytest.raises(DataError, match=r"accepts 2 rows"):
        listed(path, source="manifest")


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
    assert reasons["missing.png"].startswith("No such file or directory; paths count from ")
    assert len(listing.samples) == 12


@pytest.mark.parametrize(("listed_as", "used"), [(r"happy\{}.png", True), ("happy/{}", True), (r"C:\me\{}.png", False)])
def test_paths_of_another_system_or_without_suffixes(tmp_path: Path, listed_as: str, used: bool) -> None:
    class_folders(tmp_path, 2)
    rows = [{"path": listed_as.format(f"00{number}"), "label": "happy"} for number in range(2)]
    write_manifest(tmp_path / "list.csv", [*rows, {"path": "sad/000.png", "label": "sad"}][: 3 if used else 2])
    if used:
        assert len(listed(tmp_path / "list.csv", source="manifest").samples) == 3
    else:
        message = r"none of its 2 images can be used, such as 'C:.*000.png': No such file.*paths count from"
        with pytest.raises(DataError, match=message):
            listed(tmp_path / "list.csv", source="manifest")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_columns_may_be_separated_as_spreadsheets_do_it(tmp_path: Path, delimiter: str) -> None:
    text = "\ufeffpath;label;group\nhappy/000.png;happy;a,b\nsad/000.png;sad;\n".replace(";", delimiter)
    write(tmp_path / "list.csv", text.encode())
    class_folders(tmp_path, 1)
    assert [sample.subject for sample in listed(tmp_path / "list.csv", source="manifest").samples] == ["a,b", None]


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
