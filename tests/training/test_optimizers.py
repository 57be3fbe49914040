from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from src.config import Config
from src.training.optimizers import create_optimizer, learning_rate, plateau_callback


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
    assert np.allclose(steps, [0.0, 0.25, 0.5, 0.275, 0.05], atol=1e-6)


def test_warmup_alone_stays_at_the_rate(make_config: Callable[..., Config]) -> None:
    rate = learning_rate(make_config("optimizer.warmup_epochs=2").optimizer, 10, 5)
    assert np.allclose([float(rate(step)) for step in (0, 10, 20, 50)], [0, 5e-4, 1e-3, 1e-3])


def test_plateau_is_a_callback_that_watches_the_monitored_score(make_config: Callable[..., Config]) -> None:
    config = make_config("optimizer.schedule=plateau", "optimizer.plateau_factor=0.3").optimizer
    (callback,) = plateau_callback(config, "val_auc", "max")
    assert (callback.monitor, callback.mode, callback.factor) == ("val_auc", "max", 0.3)
    assert plateau_callback(make_config().optimizer, "val_auc", "max") == []
