"""One small trained model and its bundle, made once for all tests of using a model."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from src.config import PROJECT_ROOT, Config, ExportConfig, TrackingConfig, to_config
from src.data.drawn import draw_face
from src.inference.bundle import Bundle

SMALL = ["dataset=photos", "dataset.image_size=32", "dataset.near_duplicate_distance=null", "model.filters=[8,16]"]
SMALL += ["model.dense=[16]", "optimizer.learning_rate=0.003", "trainer.epochs=6", "trainer.batch_size=16"]
SMALL += ["trainer.early_stopping=0", "evaluation.resamples=100", "evaluation.explanations=0", "tracking=off"]
SMALL += ["evaluation.pointing_pictures=0", "evaluation.slices=false"]


def write_light_and_dark(folder: Path) -> None:
    """Happy pictures are light and sad ones dark: what a small model learns in seconds, whatever its seed."""
    lots = np.random.default_rng(0)
    for name, level in (("happy", 170), ("sad", 85)):
        (folder / name).mkdir(parents=True)
        for index in range(60):
            pixels = lots.integers(level - 60, level + 60, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a small trained run, as `output=` leaves it."""
    from src.train import train

    folder = tmp_path_factory.mktemp("trained")
    write_light_and_dark(folder / "pictures")
    places = [f"dataset.path={folder}/pictures", f"dataset.cache={folder}/cache", f"output={folder}/record"]
    with initialize_config_dir(str(PROJECT_ROOT / "conf"), version_base=None):
        tree = compose("config", [*SMALL, *places])
    plain = OmegaConf.to_container(tree, resolve=True)
    assert isinstance(plain, dict)
    train(to_config({str(key): value for key, value in plain.items()}, Config))
    return folder / "record"


@pytest.fixture(scope="session")
def bundle(record: Path) -> Bundle:
    """Its bundle, with all formats."""
    from src.export import export

    return export(ExportConfig(TrackingConfig("off"), run=str(record), output=str(record.parent / "small")))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Pictures in several formats and modes, with two that cannot be read, and one in a folder of its own."""
    folder = tmp_path / "album"
    (folder / "more").mkdir(parents=True)
    faces = [Image.fromarray(draw_face(7, index, 64)[0]) for index in range(5)]
    faces[0].save(folder / "a.png")
    faces[1].convert("L").save(folder / "b.jpg")
    (folder / "c.jpg").write_bytes(picture_bytes(faces[2], "JPEG")[:700])
    (folder / "d.txt").write_text("no picture at all, but some words in a file")
    faces[3].save(folder / "e.webp", lossless=True)
    faces[4].save(folder / "more" / "f.gif")
    return folder


def picture_bytes(picture: Image.Image, picture_format: str) -> bytes:
    stream = BytesIO()
    picture.save(stream, picture_format)
    return stream.getvalue()


@pytest.fixture
def picture() -> Callable[[int], Image.Image]:
    """A drawn face by its number."""
    return lambda index: Image.fromarray(draw_face(7, index, 96)[0])
