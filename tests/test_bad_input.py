"""Data sets that cannot be trained on: one line that says what to do, nothing left behind."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.train import main


def images(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 256, (24, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


def nothing(_: Path) -> None:
    """A path that does not exist."""


def empty(root: Path) -> None:
    root.mkdir()


def one_class(root: Path) -> None:
    images(root / "happy", 8)


def one_image_each(root: Path) -> None:
    images(root / "happy", 1)
    images(root / "sad", 1)


def unreadable(root: Path) -> None:
    for name in ("happy", "sad"):
        (root / name).mkdir(parents=True)
        for index in range(5):
            (root / name / f"{index}.jpg").write_bytes(b"this is no image")


@pytest.mark.parametrize("make", [nothing, empty, one_class, one_image_each, unreadable])
def test_a_data_set_that_cannot_be_used_is_one_line_and_leaves_nothing(
    make, tmp_path: Path, sandbox: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "my images"
    make(root)
    before = sorted(path.name for path in root.rglob("*")) if root.exists() else []
    monkeypatch.setattr(sys, "argv", ["src/train.py", "dataset=photos", f"dataset.path={root}", *sandbox])
    with pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    assert stop.value.code == 1
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert str(root) in captured.err or "dataset" in captured.err
    assert (sorted(path.name for path in root.rglob("*")) if root.exists() else []) == before
    cache = tmp_path / "cache"
    assert not [path for path in cache.rglob("*") if path.suffix in (".npy", ".u8", ".parquet", ".json")]
