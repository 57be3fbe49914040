"""The state of a fit between two epochs, kept so that a fit can go on to the very weights that it would have reached.

That state is every variable of the model (random seeds among them), those of the optimizer, what the stopping and
plateau callbacks remember, and the history.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..errors import TrainingError

MEMORY = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")
STATE, PREVIOUS = "state.npz", "previous.npz"
_DAMAGED = (OSError, EOFError, ValueError, KeyError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile)
"""What a file raises that is no longer what was written, wherever it was changed."""


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

    `remembering` are the callbacks whose memory belongs to the state; they must come before this one. `identity` is
    what makes the fit this fit: flat config values and digests of the data. A fit in stages sets `stage`; a stage that
    begins with the weights of the one before has an optimizer of its own. Raises TrainingError for the state of a fit
    that was another one, naming what differs, and OSError where nothing can be written.
    """

    def __init__(
        self, folder: Path, remembering: Sequence[keras.callbacks.Callback], identity: Mapping[str, str]
    ) -> None:
        super().__init__()
        self.folder, self.remembering, self.identity = folder, remembering, dict(identity)
        self.arrays: list[np.ndarray] = []
        self.stage = 0
        found = _read(folder)
        if found is None:
            return
        self.arrays, self.facts = found
        self._check_identity(self.facts.get("identity", {}))
        self.history = self.facts["history"]
        # A fit that has stopped early has no epochs left, whatever `epochs` says.
        self.epochs_done = sys.maxsize if self.facts["stopped"] else self.facts["epochs_done"]

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.model.optimizer.build(self.model.trainable_variables)
        if not self.arrays:
            return
        arrays, self.arrays = self.arrays, []
        same_stage = self.facts.get("stage", 0) == self.stage
        variables = self._variables() if same_stage else self.model.variables
        if [value.shape for value in arrays[: len(variables)]] != [tuple(each.shape) for each in variables]:
            raise TrainingError(f"{self.folder}: holds the state of another model")
        for variable, value in zip(variables, arrays, strict=False):
            variable.assign(value)
        if not same_stage:
            return
        for callback, memory in zip(self.remembering, self.facts["memories"], strict=True):
            vars(callback).update(memory)
            if hasattr(callback, "best_weights") and len(arrays) > len(variables):
                callback.best_weights = arrays[len(variables) :]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        best = next((callback.best_weights for callback in self.remembering if hasattr(callback, "best_weights")), None)
        arrays = [keras.ops.convert_to_numpy(variable) for variable in self._variables()] + list(best or [])
        facts = {
            "epochs_done": epoch + 1,
            "stopped": bool(self.model.stop_training),
            "history": self.history,
            "memories": [_memory(callback) for callback in self.remembering],
            "identity": self.identity,
            "stage": self.stage,
        }
        try:
            _write(self.folder, arrays, facts)
        except OSError as error:
            raise TrainingError(
                f"the state of the fit cannot be kept in {self.folder}: {error.strerror or error}; make room and "
                "resume, or set trainer.keep_state=false"
            ) from error

    def _check_identity(self, earlier: Mapping[str, str]) -> None:
        keys = sorted(earlier.keys() | self.identity.keys(), key=lambda key: (key.startswith("digest."), key))
        differing = [key for key in keys if earlier.get(key) != self.identity.get(key)]
        if differing:
            named = "; ".join(
                f"{key}: {earlier.get(key)} there, {self.identity.get(key)} here" for key in differing[:3]
            )
            more = f"; and {len(differing) - 3} more" if len(differing) > 3 else ""
            raise TrainingError(f"{self.folder}: holds the state of another run ({named}{more}); name another folder")

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self.model.optimizer.variables]


def _read(folder: Path) -> tuple[list[np.ndarray], dict[str, Any]] | None:
    """The newest state that can be read, the one before where a file is damaged; None where there is none."""
    for name in (STATE, PREVIOUS):
        try:
            _check_sums(folder / name)
            with np.load(folder / name) as stored:
                arrays = [stored[f"array{number}"] for number in range(len(stored.files) - 1)]
                return arrays, json.loads(str(stored["facts"]))
        except FileNotFoundError:
            continue
        except _DAMAGED:
            print(f"warning: {folder / name} is damaged", file=sys.stderr)
    return None


def _check_sums(file: Path) -> None:
    """Raise one of `_DAMAGED` for a member whose bytes are not those that were written: NumPy reads headers first."""
    with zipfile.ZipFile(file) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} is damaged")


def _write(folder: Path, arrays: Sequence[np.ndarray], facts: Mapping[str, Any]) -> None:
    """Replace the state in one step and keep the one before it."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "partial.npz"
    named = {f"array{number}": array for number, array in enumerate(arrays)}
    try:
        np.savez(partial, allow_pickle=False, facts=np.array(json.dumps(facts)), **named)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    if (folder / STATE).exists():
        os.replace(folder / STATE, folder / PREVIOUS)
    os.replace(partial, folder / STATE)


def _memory(callback: keras.callbacks.Callback) -> dict[str, float]:
    found = {name: getattr(callback, name) for name in MEMORY if getattr(callback, name, None) is not None}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in found.items()}
