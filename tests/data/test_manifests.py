"""Lists of images: manifests and metadata files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.config import DatasetConfig, ManifestConfig
from src.data.prepared import prepare
from src.data.sources import manifest
from src.errors import DataError
from tests.data.listing import listed, write
from tests.image_files import class_folders, config_of, png


@pytest.mark.parametrize(
    ("name", "source", "content", "said"),
    [
        ("row.csv", "manifest", b"path,label\n" + b"x" * 3_000_000 + b",happy\n", "line 2 holds more than a megabyte"),
        ("row.csv", "fer2013", b"emotion,pixels\n3," + b"9 " * 600_000, "line 2 holds more than a megabyte"),
        ("rows.csv", "manifest", b"path,label\n" + b"a.png,happy\n" * 6, "line 6 is not the last one"),
    ],
)
def test_lists_that_no_images_have_are_rejected_before_they_fill_memory(
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


def test_json_lines_are_text(tmp_path: Path) -> None:
    rows = [{**row, "group": f"00{number}"} for number, row in enumerate(manifest_rows(tmp_path))]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    listing = listed(tmp_path / "list.jsonl", source="manifest")
    assert {sample.subject for sample in listing.samples} == {row["group"] for row in rows}
