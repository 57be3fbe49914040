"""A source that is added from outside the package: one function and one YAML file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from src.config import PrepareConfig, SourceConfig
from src.data.prepared import copy_rejected, prepare
from src.data.samples import DecodedImage, Limits, Sample
from src.data.sources import Listing, RejectedEntry, class_labels, entries_of, register_source, source_path
from src.data.sources.folders import SOURCES
from src.errors import ConfigError
from tests.composing import compose_config
from tests.image_files import class_folders, config_of, png

YAML = """
defaults:
  - photos
  - _self_
name: named_files
source: named_files
image_size: 16
workers: 1
"""


def list_named_files(config: SourceConfig) -> Listing:
    """A flat folder or archive in which a file's name begins with its class: happy_17.png."""
    labels, samples, ignored = class_labels(config), [], {}
    for path, locator in entries_of(source_path(config)):
        label = labels.get(path.rpartition("/")[2].partition("_")[0].casefold())
        if label is None or isinstance(locator, RejectedEntry):
            ignored[path] = 1
        else:
            samples.append(Sample(path, label, locator))
    return Listing(samples, ignored=ignored)


@dataclass(frozen=True, slots=True)
class GrayLocator:
    """An image without a file: one level of gray all over."""

    level: int
    has_file: ClassVar[bool] = False

    @property
    def signature(self) -> str:
        return ""

    def read(self, limit: int) -> bytes:
        return b""

    def decode(self, data: bytes, size: int, limits: Limits) -> DecodedImage:
        pixels = np.full((size, size, 3), self.level, np.uint8)
        return DecodedImage(pixels, size, size, "gray", "RGB", {"level": self.level})


def list_grays(config: SourceConfig) -> Listing:
    return Listing([Sample(f"{level:03d}", level % 2, GrayLocator(level)) for level in range(24)])


@pytest.fixture(autouse=True)
def added_sources() -> Iterator[None]:
    register_source("named_files", changes_with="file")(list_named_files)
    register_source("grays", changes_with="config")(list_grays)
    yield
    del SOURCES["named_files"], SOURCES["grays"]


def named_files(root: Path) -> Path:
    root.mkdir()
    for number in range(24):
        (root / f"{('sad', 'happy')[number % 2]}_{number}.png").write_bytes(png(number))
    (root / "notes.txt").write_text("neither class")
    return root


def test_a_function_and_a_yaml_file_are_a_source(tmp_path: Path) -> None:
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    (tmp_path / "conf" / "dataset" / "named_files.yaml").write_text(YAML)
    overrides = [f"hydra.searchpath=[file://{tmp_path}/conf]", "dataset=named_files"]
    overrides += [f"dataset.path={named_files(tmp_path / 'root')}", f"dataset.cache={tmp_path}/cache"]
    dataset = prepare(compose_config(*overrides, schema=PrepareConfig, name="prepare").dataset)
    assert dataset.table["label"].value_counts().to_dict() == {0: 12, 1: 12}
    assert (dataset.table["label"] == dataset.table["path"].str.startswith("happy")).all()
    assert dataset.ignored == {"notes.txt": 1}


def test_a_source_may_make_its_own_images_beside_files(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 8)
    (root / "sad" / "broken.png").write_bytes(b"no image")
    sources = {
        "grays": SourceConfig(name="grays", source="grays"),
        "photos": SourceConfig(name="photos", source="folder", path=str(root)),
    }
    config = config_of(None, tmp_path / "cache", source="combined", sources=sources, verify="full")
    dataset = prepare(config)
    made = dataset.table[dataset.table["source"] == "grays"]
    assert made["level"].tolist() == list(range(24))
    assert (dataset.images[made.index] == np.arange(24)[:, None, None, None]).all()
    assert made["group"].nunique() == 24  # however alike they look
    assert copy_rejected(dataset, config, tmp_path / "rejected") == 1


def test_an_image_without_a_file_is_neither_verified_nor_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def list_twice(config: SourceConfig) -> Listing:
        once = list_grays(config).samples
        return Listing([*once, *(replace(sample, path=f"again/{sample.path}") for sample in once)])

    SOURCES["grays"] = replace(SOURCES["grays"], list=list_twice)
    config = config_of(None, tmp_path / "cache", source="grays", verify="full")
    dataset = prepare(config)
    assert set(dataset.rejected["verdict"]) == {"duplicate_of"}
    assert len(dataset.rejected) == len(dataset.table) == 24
    assert copy_rejected(dataset, config, tmp_path / "rejected") == 0
    monkeypatch.setattr("src.data.prepared.build", pytest.fail)
    assert prepare(config).digest == dataset.digest


def test_a_source_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="already"):
        register_source("folder")(list_grays)
    with pytest.raises(ConfigError, match=r"dataset\.source=gray: accepts affectnet, combined, .*; did you mean grays"):
        prepare(config_of(None, tmp_path, source="gray"))
    sources = {"both": SourceConfig(name="both", source="combined")}
    with pytest.raises(ConfigError, match=r"dataset\.sources\.both\.source=combined: accepts affectnet, fer2013"):
        prepare(config_of(None, tmp_path, source="combined", sources=sources))
