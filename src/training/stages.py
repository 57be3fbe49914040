"""The stages of a fit: the head of a network that knows something already, then all of it at a lower rate."""

from __future__ import annotations

import re
from collections.abc import Iterable
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
        """Freeze what `trainer.frozen` names, and in the first stage all but the head. A frozen layer of batch
        normalization keeps its statistics, in training too. Raises ConfigError for a model of which the head is all,
        and where `trainer.frozen` names nothing, or all.
        """
        unfreeze(classifier)
        if self.head_only:
            head = head_layers(classifier)
            body = [layer for layer in classifier.layers if layer not in head]
            if not any(layer.weights for layer in body):
                raise ConfigError(f"trainer.freeze={config.trainer.freeze}: model={config.model.name} is all head")
            _freeze(body)
        if pattern := config.trainer.frozen:
            named = [layer for layer in classifier.layers if re.match(pattern, layer.name) and layer.weights]
            if not named:
                known = [layer.name for layer in classifier.layers if layer.weights]
                raise ConfigError(
                    f"trainer.frozen={pattern}: no layer of model={config.model.name} begins so; they are "
                    f"{', '.join(known[:6])}{', ...' if len(known) > 6 else ''}"
                )
            _freeze(named)
        if not classifier.trainable_weights:
            raise ConfigError(f"trainer.frozen={config.trainer.frozen}: leaves nothing to train")


def _freeze(some: Iterable[keras.layers.Layer]) -> None:
    for layer in some:
        layer.trainable = False


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
