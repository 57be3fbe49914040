from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from src.config import Config
from src.training.model import create_optimizer, learning_rate, plateau_callback


@pytest.mark.parametrize(
    ("option", "kind"),
    [("adam", keras.optimizers.Adam), ("adamw", keras.optimizers.AdamW), ("sgd", keras.optimizers.SGD)],
)
def test_each_option_gives_its_optimizer(make_config: Callable[..., Config], option: str, kind: type) -> None:
    config = make_config(f"optimizer={option}").optimizer
    optimizer = create_optimizer(config, steps_per_epoch=10, epochs=3)
    assert type(optimizer) is kind
    assert optimizer.global_clipnorm == config.clip_norm


def test_adam_is_constant_by_default(make_config: Callable[..., Config]) -> None:
    assert learning_rate(make_config().optimizer, 10, 3) == 1e-3


def test_warmup_rises_to_the_rate_and_cosine_falls_to_its_fraction(make_config: Callable[..., Config]) -> None:
    overrides = ["optimizer.schedule=cosine", "optimizer.warmup_epochs=1", "optimizer.final_learning_rate=0.1"]
    rate = learning_rate(make_config(*overrides, "optimizer.learning_rate=0.5").optimizer, 10, 3)
    steps = [float(rate(step)) for step in (0, 5, 10, 20, 30)]
    assert np.allclose(steps, [0.5 / 11, 0.5 * 6 / 11, 0.5, 0.275, 0.05], atol=1e-6)


def test_warmup_alone_stays_at_the_rate(make_config: Callable[..., Config]) -> None:
    rate = learning_rate(make_config("optimizer.warmup_epochs=2").optimizer, 10, 5)
    assert np.allclose([float(rate(step)) for step in (0, 10, 20, 50)], [1e-3 / 21, 1e-3 * 11 / 21, 1e-3, 1e-3])


def test_plateau_is_a_callback_that_watches_the_monitored_score(make_config: Callable[..., Config]) -> None:
    config = make_config("optimizer.schedule=plateau", "optimizer.plateau_factor=0.3").optimizer
    (callback,) = plateau_callback(config, "val_auc", "max")
    assert (callback.monitor, callback.mode, callback.factor) == ("val_auc", "max", 0.3)
    assert plateau_callback(make_config().optimizer, "val_auc", "max") == []


def test_float16_trains_with_a_loss_whose_gradients_underflow_without_scaling(
    make_config: Callable[..., Config],
) -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        classifier = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        config = make_config("optimizer=sgd", "optimizer.learning_rate=1", "optimizer.momentum=0").optimizer
        moved = {}
        for scaled in (True, False):
            optimizer = create_optimizer(config, steps_per_epoch=1, epochs=1)
            optimizer = optimizer if scaled else optimizer.inner_optimizer
            classifier.set_weights([np.zeros((1, 1)), np.zeros(1)])
            classifier.compile(optimizer, loss=lambda _, y: keras.ops.mean(keras.ops.cast(y, "float32")) * 1e-8)
            classifier.optimizer = optimizer  # what compile would have wrapped by itself
            classifier.train_on_batch(np.ones((4, 1)), np.zeros((4, 1)))
            moved[scaled] = abs(float(classifier.get_weights()[0][0, 0]))
    finally:
        keras.config.set_dtype_policy(policy)
    assert moved[True] > 1e-9
    assert moved[False] == 0
