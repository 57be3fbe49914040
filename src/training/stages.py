"""The stages of a fit: the head of a network that knows something already, then all of it at a lower rate."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from ..config import Config
from ..errors import ConfigError
from ..models.classifier import head_layers


@dataclass(frozen=True)
class Stage:
    """Epochs `begin` to `end` of a fit, in which all is trained or the head alone, at `rate` times the learning rate.

    The best weights are looked for in the last one.
    """

    number: int
    begin: int
    end: int
    head_only: bool
    is_last: bool
    rate: float

    def is_over(self, epochs_done: int) -> bool:
        """Whether nothing is left of it; the last one also gives back the best weights."""
        return not self.is_last and epochs_done >= self.end

    def set_trainable(self, classifier: keras.Model, config: Config) -> None:
        """Freeze all but the head, or nothing. A frozen layer of batch normalization keeps its statistics, in training
        too. Raises ConfigError for a model of which the head is all.
        """
        unfreeze(classifier)
        if not self.head_only:
            return
        head = head_layers(classifier)
        body = [layer for layer in classifier.layers if layer not in head]
        for layer in body:
            layer.trainable = False
        if not any(layer.weights for layer in body):
            raise ConfigError(f"trainer.freeze={config.trainer.freeze}: model={config.model.name} is all head")


def unfreeze(classifier: keras.Model) -> None:
    """Make every layer trainable. A functional model's own `trainable` does not reach its layers."""
    for layer in classifier.layers:
        layer.trainable = True


def stages(config: Config) -> list[Stage]:
    """The head first, then all at a lower rate, as `trainer.freeze` asks; else all at once."""
    freeze, epochs = config.trainer.freeze, config.trainer.epochs
    if not freeze:
        return [Stage(0, 0, epochs, head_only=False, is_last=True, rate=1.0)]
    head = Stage(0, 0, min(freeze, epochs), head_only=True, is_last=freeze >= epochs, rate=1.0)
    rest = Stage(1, freeze, epochs, head_only=False, is_last=True, rate=config.trainer.unfrozen_rate)
    return [head] if head.is_last else [head, rest]
