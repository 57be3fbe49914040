from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from src.config import Config
from src.errors import TrainingError
from src.training.run import train

VALUES = ["tracking=off", "aug=strong", "model=deep", "model.filters=[4,8]", "trainer.precision=float32"]
VALUES += ["optimizer.schedule=cosine", "trainer.epochs=4", "trainer.early_stopping=1", "trainer.monitor=val_loss"]


def test_a_fit_taken_up_again_reaches_the_same_weights(
    make_config: Callable[..., Config], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With batch normalization, augmentation, two stages of which one ends with the state, and averaged weights."""
    added = ["trainer.freeze=2", "trainer.ema=0.9"]
    whole = train(make_config(*VALUES, *added, "trainer.early_stopping=0"))
    kept = [*VALUES, *added, "trainer.early_stopping=0", f"trainer.checkpoint={tmp_path}/state"]
    part = train(make_config(*kept, "trainer.stop_after=2"))
    assert "did not improve" not in capfd.readouterr().out  # it was asked to stop there
    rest = train(make_config(*kept))
    assert rest.weights_digest == whole.weights_digest
    assert part.fit.history["loss"] == whole.fit.history["loss"][:2]
    assert rest.fit.history == whole.fit.history
    assert rest.fit.best_epoch == whole.fit.best_epoch
    with pytest.raises(TrainingError, match="holds the state of another run"):
        train(make_config(*kept, "model.filters=[4,4]"))


def test_a_fit_that_stopped_early_stays_stopped(make_config: Callable[..., Config], tmp_path: Path) -> None:
    kept = [*VALUES, "optimizer.learning_rate=1e-9", "trainer.monitor=val_auc", f"trainer.checkpoint={tmp_path}/state"]
    stopped = train(make_config(*kept))
    again = train(make_config(*kept))
    assert len(stopped.fit.history["loss"]) < 4
    assert again.fit.history == stopped.fit.history
    assert again.weights_digest == stopped.weights_digest
