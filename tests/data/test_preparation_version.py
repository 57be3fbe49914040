"""The version in the name of prepared data, tied to what it stands for: pixels, groups and columns."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.config import DatasetConfig, SourceConfig, SyntheticConfig
from src.data.prepared import PREPARATION_VERSION, PreparedDataset, prepare
from tests.image_files import class_folders, config_of

VERSION, DIGEST = 3, "3721c4c3b5824594"
STATISTICS = ("brightness", "contrast", "saturation", "sharpness", "red", "green", "blue")
CHANGED = """prepared pixels, groups or columns are not what they were, so caches of them must not be used any more:
raise PREPARATION_VERSION in src/data/prepared.py and write it and the new digest here. If nothing but Pillow
changed, write the digest only: its version is in the name of every cache."""


def blocks(seed: int, side: int = 48) -> np.ndarray:
    """Even blocks of random colors, (side, side, 3): made by integers only, so the same with every library."""
    colors = np.random.default_rng(seed).integers(0, 252, (6, 6, 3), dtype=np.uint8)
    return np.kron(colors, np.ones((side // 6, side // 6, 1), dtype=np.uint8))


def write_images(root: Path) -> Path:
    """Images in formats that no codec changes: colors, gray, transparency, 16 bits, a turn, copies, broken files."""
    for label, name in enumerate(("sad", "happy")):
        folder = root / name
        folder.mkdir(parents=True)
        first = 100 * label
        for number in range(4):
            Image.fromarray(blocks(first + number)).save(folder / f"color{number}.bmp")
        Image.fromarray(blocks(first + 4, 480)).save(folder / "large.bmp")
        Image.fromarray(blocks(first)[:, :30] + 3).save(folder / "cropped.bmp")
        Image.fromarray(blocks(first + 1) + 3).save(folder / "near-duplicate.bmp")
        Image.fromarray(blocks(first + 5)[:, :, 0]).save(folder / "gray.bmp")
        Image.fromarray(blocks(first + 6)[:, :, 0].astype(np.uint16) * 257).save(folder / "deep.tiff")
        Image.fromarray(np.dstack([blocks(first + 7), blocks(first + 8)[:, :, 0]])).save(folder / "clear.tiff")
        Image.fromarray(blocks(first + 9)).save(folder / "turned.tiff", exif={0x0112: 6})
        (folder / "copy.bmp").write_bytes((folder / "color3.bmp").read_bytes())
        (folder / "cut.bmp").write_bytes((folder / "color2.bmp").read_bytes()[:900])
        (folder / "both.bmp").write_bytes((root / "sad" / "color2.bmp").read_bytes())
    return root


def write_fer2013(path: Path) -> Path:
    lines = ["emotion,pixels,Usage"]
    for number in range(4):
        gray = " ".join(map(str, blocks(200 + number)[:, :, 1].ravel()))
        lines.append(f"{3 + number % 2},{gray},Training")
    path.write_text("\n".join(lines))
    return path


def digest_of(dataset: PreparedDataset) -> str:
    """A name for everything that is stored, but for how pandas stores text and what Pillow says of errors.

    Statistics of the pixels count to a tenth: their last digits depend on the processor.
    """
    digest = hashlib.sha256(np.ascontiguousarray(dataset.images).data)
    rejected = dataset.rejected.drop(columns="detail").sort_values("path", ignore_index=True)
    for table in (dataset.table.drop(columns="split"), rejected):
        digest.update(json.dumps({name: plain_values(table[name]) for name in table}).encode())
    return digest.hexdigest()[:16]


def plain_values(column: pd.Series) -> list[object]:
    values = [None if pd.isna(value) else value for value in column.astype(object)]
    return [round(value, 1) if column.name in STATISTICS and isinstance(value, float) else value for value in values]


def fixed_images(tmp_path: Path) -> DatasetConfig:
    photos = SourceConfig(name="photos", source="folder", path=str(write_images(tmp_path / "photos")))
    grays = SourceConfig(name="grays", source="fer2013", path=str(write_fer2013(tmp_path / "fer.csv")), weight=0.5)
    faces = SourceConfig(name="faces", source="synthetic", synthetic=SyntheticConfig(count=6))
    sources = {source.name: source for source in (photos, grays, faces)}
    return config_of(None, tmp_path / "cache", source="combined", sources=sources, image_size=64)


def test_the_preparation_version_stands_for_pixels_groups_and_columns(tmp_path: Path) -> None:
    dataset = prepare(fixed_images(tmp_path))
    assert set(dataset.rejected["verdict"]) == {"duplicate_of", "label_conflict", "truncated"}
    assert dataset.table["group"].nunique() < len(dataset.table)
    assert (PREPARATION_VERSION, digest_of(dataset)) == (VERSION, DIGEST), CHANGED


@pytest.mark.parametrize("name", ["src.data.prepared.PREPARATION_VERSION", "PIL.__version__"])
def test_data_of_another_version_or_pillow_is_prepared_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = config_of(class_folders(tmp_path / "root"), tmp_path / "cache")
    prepare(config)
    monkeypatch.setattr(name, "another")
    prepare(config)
    assert len(list((tmp_path / "cache").glob("*/pixels.u8"))) == 2
