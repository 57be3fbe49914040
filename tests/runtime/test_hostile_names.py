"""Names that were chosen to harm: those of files, read by terminals and spreadsheets, and those of classes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from src.errors import BundleError
from src.runtime.bundle import Bundle, create_bundle
from tests.trained_model import Run

NAMES = [
    "\x1b[2J\x1b]0;owned\x07.png", "a\rb.png", "new\nline.png", "\x9b31m.png", "\u202egnp.exe.png", "[red]b[bold].png",
    "=cmd|'-C calc'!A0.png", "+1.png", "@SUM(A1).png", "\ttab.png", os.fsdecode(b"\xff\xfe.png"),
]  # fmt: skip


@pytest.fixture
def hostile(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sound images with such names, which is the working folder."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(album / "a.png", folder / name)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("options", [[], ["--json"], ["--faces"]])
def test_what_is_printed_steers_no_terminal(predict: Run, hostile: Path, options: list[str]) -> None:
    lines = predict(hostile, *options).lines
    assert len(lines) == len(NAMES)
    assert all(line.isprintable() for line in lines)
    if options == ["--json"]:
        assert {Path(json.loads(line)["path"]).name for line in lines} == set(NAMES)


def test_an_error_that_names_such_a_file_is_one_safe_line(run_command, hostile: Path) -> None:
    result = run_command("src.predict", str(hostile / "\x1b[31mno\nsuch.png"))
    assert result.stderr.count("\n") == 1
    assert result.stderr.strip().isprintable()


def test_no_cell_of_a_table_is_a_formula(predict: Run, hostile: Path, tmp_path: Path) -> None:
    predict(*[name for name in NAMES if not name.startswith("-")], "--csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["path"]) for row in rows] == [Path(name) for name in NAMES]
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_a_name_that_is_no_text_costs_no_rows(predict: Run, hostile: Path, tmp_path: Path) -> None:
    predict(hostile, "--parquet", tmp_path / "out.parquet")
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert len(table) == len(NAMES)
    assert str(hostile / "\\udcff\\udcfe.png") in set(table["path"])


def test_looping_links_get_a_verdict(predict: Run, album: Path) -> None:
    (album / "loop.png").symlink_to("loop.png")
    (album / "up").symlink_to("..")
    lines = [json.loads(line) for line in predict(album, "--recursive", "--json").lines]
    assert {Path(line["path"]).name: line["verdict"] for line in lines}["loop.png"] == "unreadable"
    assert len(lines) == 7


def test_folders_deeper_than_python_recurses_are_walked(predict: Run, tmp_path: Path) -> None:
    place = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=place)
        deeper = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = deeper
    os.close(place)
    try:
        assert "no images found" in predict(tmp_path / "d", "--recursive").error
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # pytest's own removal would recurse


@pytest.mark.parametrize("name", ["unsure", "rejected", "-1", "=1", "", "..", "a/b", "a\nb"])
def test_a_class_has_no_name_that_means_something_else(bundle: Bundle, name: str) -> None:
    from dataclasses import asdict

    with pytest.raises(BundleError, match="class_names"):
        create_bundle(**{**asdict(bundle), "class_names": ["sad", name]})
