"""The state of a fit between two epochs, kept so that a fit can go on to the very weights that it would have reached.

That state is every variable of the model (random seeds among them), those of the optimizer, what the stopping and
plateau callbacks remember, and the history.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..errors import TrainingError

MEMORY = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")
FILE = "state.npz"


class History(keras.callbacks.Callback):
    """The metrics of every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.epochs_done = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))


class Checkpoint(History):
    """Writes the state to `folder` after each epoch, in one step, and at the start takes up what is there.

    `remembering` are the callbacks whose memory belongs to the state; they must come before this one.
    """

    def __init__(self, folder: Path, remembering: Sequence[keras.callbacks.Callback]) -> None:
        super().__init__()
        self.file = folder / FILE
        self.remembering = remembering
        if self.file.exists():
            with np.load(self.file) as stored:
                self.arrays = [stored[f"array{number}"] for number in range(len(stored.files) - 1)]
                self.facts = json.loads(str(stored["facts"]))
            self.history = self.facts["history"]
            # A fit that has stopped early has no epochs left, whatever `epochs` says.
            self.epochs_done = sys.maxsize if self.facts["stopped"] else self.facts["epochs_done"]

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.model.optimizer.build(self.model.trainable_variables)
        if not self.epochs_done:
            return
        variables = self._variables()
        if [value.shape for value in self.arrays[: len(variables)]] != [tuple(each.shape) for each in variables]:
            raise TrainingError(f"trainer.checkpoint={self.file.parent}: holds the state of another model")
        for variable, value in zip(variables, self.arrays, strict=False):
            variable.assign(value)
        for callback, memory in zip(self.remembering, self.facts["memories"], strict=True):
            vars(callback).update(memory)
            if hasattr(callback, "best_weights") and len(self.arrays) > len(variables):
                callback.best_weights = self.arrays[len(variables) :]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        best = next((callback.best_weights for callback in self.remembering if hasattr(callback, "best_weights")), None)
        arrays = [keras.ops.convert_to_numpy(variable) for variable in self._variables()] + list(best or [])
        facts = {
            "epochs_done": epoch + 1,
            "stopped": bool(self.model.stop_training),
            "history": self.history,
            "memories": [_memory(callback) for callback in self.remembering],
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(".partial.npz")
        named = {f"array{number}": array for number, array in enumerate(arrays)}
        np.savez(partial, facts=np.array(json.dumps(facts)), **named)
        os.replace(partial, self.file)

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self.model.optimizer.variables]


def _memory(callback: keras.callbacks.Callback) -> dict[str, float]:
    found = {name: getattr(callback, name) for name in MEMORY if getattr(callback, name, None) is not None}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in found.items()}
