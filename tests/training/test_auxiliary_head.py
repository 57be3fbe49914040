"""A head for further classes changes what the network learns, and is no part of the model that is kept."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.config import Config
from src.data.prepared import prepare
from src.errors import TrainingError
from src.evaluation.artifacts import PREDICTIONS
from src.training.run import TrainResult, train
from tests.composing import BRIEF_EVALUATION, compose_config
from tests.trained_model import write_light_and_dark

SMALL = ["dataset=photos", "dataset.image_size=32", "dataset.near_duplicate_distance=null", "model=residual"]
SMALL += ["model.filters=[8]", "model.dropout=0.5", "trainer.epochs=2", "trainer.batch_size=16", *BRIEF_EVALUATION]
SMALL += ["evaluation.slices=false", "tracking=off", "trainer.precision=float32"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Light, dark, and a third class with stripes."""
    folder = tmp_path_factory.mktemp("images")
    write_light_and_dark(folder / "root")
    (folder / "root" / "neutral").mkdir()
    random = np.random.default_rng(1)
    for index in range(50):
        pixels = random.integers(0, 80, (32, 32, 3), np.uint8)
        pixels[:, ::4] += 170
        Image.fromarray(pixels).save(folder / "root" / "neutral" / f"{index}.png")
    return folder


def config_of(images: Path, *overrides: str) -> Config:
    places = [f"dataset.path={images}/root", f"dataset.cache={images}/cache", "dataset.auxiliary=[neutral]"]
    return compose_config(*SMALL, *places, *overrides)


def run(images: Path, *overrides: str) -> TrainResult:
    return train(config_of(images, *overrides))


def test_a_lost_loss_names_images_of_the_third_class_too(images: Path) -> None:
    lost = ["optimizer=sgd", "optimizer.learning_rate=10", "optimizer.clip_norm=null", "model.normalization=none"]
    values = ["model.activation=leaky_relu", "trainer.epochs=30", "trainer.auxiliary_weight=10"]
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) in epoch .*the batch was .*neutral/\d+\.png"):
        run(images, *lost, *values)


def test_the_head_teaches_and_is_not_kept(images: Path, tmp_path: Path) -> None:
    taught = run(images, f"output={tmp_path / 'with'}")
    alone = run(images, f"output={tmp_path / 'without'}", "trainer.auxiliary_weight=0")
    assert taught.weights_digest != alone.weights_digest
    assert taught.cost == alone.cost
    models = [keras.saving.load_model(tmp_path / name / "model.keras") for name in ("with", "without")]
    shapes = [[weight.shape for weight in model.weights] for model in models]
    assert shapes[0] == shapes[1]
    assert taught.fit.history["val_loss"] != alone.fit.history["val_loss"]
    predictions = pd.read_parquet(tmp_path / "with" / PREDICTIONS)
    neither = prepare(config_of(images).dataset).auxiliary
    assert neither is not None
    assert not predictions["sha256"].isin(neither.table["sha256"]).any()


def test_images_of_neither_class_do_not_count_in_metrics(images: Path, tmp_path: Path) -> None:
    result = run(images, f"output={tmp_path}")
    predictions = pd.read_parquet(tmp_path / PREDICTIONS)
    trained = 120 - predictions["split"].isin(["validation", "test"]).sum()
    right = np.array(result.fit.history["accuracy"]) * trained
    assert right == pytest.approx(right.round(), abs=1e-3)


def test_a_fit_goes_on_to_the_same_weights(images: Path, tmp_path: Path) -> None:
    values = ["aug.mixup=0.2", "aug.cutmix=0.5", "aug.flip=true"]
    whole = run(images, *values)
    run(images, *values, f"trainer.checkpoint={tmp_path}", "trainer.stop_after=1")
    resumed = run(images, *values, f"trainer.checkpoint={tmp_path}")
    assert resumed.weights_digest == whole.weights_digest


def test_the_head_outlives_the_first_stage(images: Path) -> None:
    result = run(images, "trainer.freeze=1", "trainer.early_stopping=0")
    assert np.isfinite(result.fit.history["loss"]).all()
