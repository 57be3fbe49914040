"""Batch normalization's statistics are those of the training images, whenever a model is validated or kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from src.config import Config
from src.training.callbacks import EstimateBatchStatistics
from src.training.run import train
from tests.trained_model import write_light_and_dark

FEW_STEPS = ["tracking=off", "model=residual", "model.filters=[8]", "trainer.precision=float32", "trainer.epochs=3"]


def normalized(dropout: float = 0.0) -> keras.Model:
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Dropout(dropout)(keras.layers.BatchNormalization()(inputs))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 3)(x))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def random_images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)


def test_the_first_layers_statistics_are_those_of_the_images() -> None:
    model, images = normalized(dropout=0.5), random_images(40)
    rows = np.arange(0, 40, 2)
    EstimateBatchStatistics(model, images, rows, batch_size=5).estimate()
    layer = model.layers[1]
    assert np.asarray(layer.moving_mean) == pytest.approx(images[rows].mean(axis=(0, 1, 2)), rel=1e-4)
    assert np.asarray(layer.moving_variance) == pytest.approx(images[rows].var(axis=(0, 1, 2)), rel=1e-3)
    assert layer.momentum == 0.99
    assert model.layers[2].rate == 0.5


def test_what_is_estimated_makes_a_model_at_use_the_model_that_was_trained() -> None:
    model, images = normalized(), random_images(16).astype("float32")
    trained = np.asarray(model(images, training=True))
    EstimateBatchStatistics(model, images, np.arange(16), batch_size=16).estimate()
    assert np.asarray(model(images, training=False)) == pytest.approx(trained, abs=1e-3)


def test_a_frozen_layer_keeps_its_statistics() -> None:
    model = normalized()
    model.layers[1].trainable = False
    EstimateBatchStatistics(model, random_images(8), np.arange(8), batch_size=4).estimate()
    assert np.asarray(model.layers[1].moving_mean) == pytest.approx(0)
    assert np.asarray(model.layers[4].moving_mean) != pytest.approx(0)


def test_a_net_with_batch_normalization_is_validated_as_it_was_trained(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    """Moving averages are still near where they started after a few steps: the same weights answer by chance."""
    write_light_and_dark(tmp_path / "images")
    values = [*FEW_STEPS, "dataset=photos", f"dataset.path={tmp_path}/images", "trainer.early_stopping=0"]
    values += ["dataset.near_duplicate_distance=null", "optimizer.learning_rate=3e-3"]
    estimated = train(make_config(*values))
    moving = train(make_config(*values, "trainer.statistics_images=0"))
    assert estimated.fit.history["loss"] == moving.fit.history["loss"]  # training itself is the same
    assert estimated.fit.history["val_accuracy"][-1] > 0.95
    assert moving.fit.history["val_accuracy"][-1] < 0.8
