"""Callbacks of a fit: non-finite losses, progress, reports, averaged weights and batch normalization's statistics."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import TrainingError
from ..models.classifier import all_layers
from ..system import printable
from .batches import Batches

Logs = dict[str, float]
MAX_NAMED = 6  # images of a batch


class NonFiniteLossError(TrainingError):
    """A training loss that is no finite number any more."""


class TerminateOnNonFiniteLoss(keras.callbacks.Callback):
    """Raise NonFiniteLossError as soon as the training loss is no longer a finite number.

    `paths` names the images of the array that `batches` are of.
    """

    def __init__(self, batches: Batches, paths: Sequence[str]) -> None:
        super().__init__()
        self.batches, self.paths = batches, paths

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch, self.last = epoch, -1

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss, first, self.last = float((logs or {}).get("loss", 0.0)), self.last + 1, batch
        if math.isfinite(loss):
            return
        size = self.batches.batch_size
        rows = self.batches.order[first * size : (batch + 1) * size]  # of several, with steps_per_execution
        named = ", ".join(printable(self.paths[row]) for row in rows[:MAX_NAMED])
        more = f" and {len(rows) - MAX_NAMED} more" if len(rows) > MAX_NAMED else ""
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        raise NonFiniteLossError(
            f"the loss became {loss} in epoch {self.epoch + 1}, batch {batch + 1}; lower optimizer.learning_rate "
            f"(it was {rate:.3g}), set optimizer.clip_norm=1 or use trainer.precision=float32; the batch was "
            f"{named}{more}"
        )


class StopEarly(keras.callbacks.EarlyStopping):
    """Keras's EarlyStopping, which waits until the monitored value is better than `chance`: a fit that has not begun to
    learn goes on to its last epoch.
    """

    def __init__(self, chance: float, *, mode: str, **options: Any) -> None:
        super().__init__(mode=mode, restore_best_weights=True, **options)
        self.chance, self.sign = chance, -1 if mode == "min" else 1

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.best is None or self.sign * self.best <= self.sign * self.chance:
            self.wait = -1  # which becomes 0
        super().on_epoch_end(epoch, logs)


class StopAtFullAccuracy(keras.callbacks.Callback):
    """Stop once every training image is classified rightly: the aim of `trainer=overfit`."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if (logs or {}).get("accuracy", 0.0) >= 1.0:
            self.model.stop_training = True


def tensorboard_callbacks(folder: Path | None) -> list[keras.callbacks.Callback]:
    """Return Keras's TensorBoard callback, with a profile of steps 3 to 12, for logs in `folder`; [] without one."""
    return [keras.callbacks.TensorBoard(folder, profile_batch=(3, 12))] if folder else []


class ReportEpochs(keras.callbacks.Callback):
    """Hand each epoch's metrics, with the learning rate and the speed, to `report(metrics, epoch)`.

    `epoch_seconds` are those of the whole epoch, `images_per_second` that of its training without validation.
    """

    def __init__(self, report: Callable[[Logs, int], None], images: int) -> None:
        super().__init__()
        self.report = report
        self.images = images

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.start = time.perf_counter()
        self.trained: float | None = None

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self.trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        end = time.perf_counter()
        extra = {
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "epoch_seconds": end - self.start,
            "images_per_second": self.images / ((self.trained or end) - self.start),
        }
        self.report({**(logs or {}), **extra}, epoch)


class ShowProgress(keras.callbacks.Callback):
    """A bar with epoch, loss, validation score and time left; one line an epoch where the output is not a terminal."""

    def __init__(self, console: Console, epochs: int) -> None:
        super().__init__()
        self.console, self.epochs = console, epochs

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.steps = self.params["steps"] or 1
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[scores]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task(
            "fit", total=self.steps * self.epochs, epoch=1, epochs=self.epochs, scores=""
        )
        self.validated = ""
        self.progress.start()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch, self.start = epoch, time.perf_counter()
        self.progress.update(self.task, epoch=epoch + 1)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        done = self.epoch * self.steps + batch + 1
        scores = f"loss {float((logs or {}).get('loss', 0)):.3f}{self.validated}"
        self.progress.update(self.task, completed=done, scores=scores)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs and "val_accuracy" in logs:
            self.validated = f"  val accuracy {logs['val_accuracy']:.3f}"
        seconds = time.perf_counter() - self.start
        self.progress.console.print(
            f"epoch {epoch + 1:>{len(str(self.epochs))}}/{self.epochs}  {_summary(logs or {})}"
            f"  {seconds:.1f} s{_forecast(seconds, self.epochs) if epoch == 0 else ''}",
            highlight=False,
            soft_wrap=True,
        )

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar off the screen, also where the fit broke off, or never began."""
        if hasattr(self, "progress"):
            self.progress.stop()


class AverageWeights(keras.callbacks.Callback):
    """Puts the optimizer's moving average of the weights into the model for validation, and takes it out with `back`.

    So what is validated, reported and kept as the best is the average, while training goes on with the weights as they
    are. Comes before the callbacks of validation; `back` comes after those that keep weights and before those that keep
    the state. Keras's own SwapEMAWeights takes it out before the best weights are kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[Any] = []
        self.back = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: self._take_out())

    def on_test_begin(self, logs: Logs | None = None) -> None:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        averages = optimizer._model_variables_moving_average  # Keras has no public name for them
        variables = self.model.trainable_variables
        self.trained = [keras.ops.convert_to_numpy(variable) for variable in variables]
        for variable, average in zip(variables, averages, strict=True):
            variable.assign(average)

    def _take_out(self) -> None:
        for variable, value in zip(self.model.trainable_variables, self.trained, strict=True):
            variable.assign(value)


def _forecast(seconds: float, epochs: int) -> str:
    total = seconds * epochs
    return f"; all {epochs} about {total / 60:.0f} min" if epochs > 1 and total >= 90 else ""


def _summary(logs: Logs) -> str:
    shown: list[tuple[str, Any]] = [("loss", "loss"), ("accuracy", "accuracy"), ("val_loss", "val loss")]
    shown += [("val_accuracy", "val accuracy"), ("val_auc", "val AUC")]
    return "  ".join(f"{title} {logs[name]:.3f}" for name, title in shown if name in logs)


class EstimateBatchStatistics(keras.callbacks.Callback):
    """Sets the statistics of `classifier` over `rows` of `images`, uint8 (n, height, width, 3), before each validation.

    Images are taken as they are, without augmentation, and dropout is off: the state that a model is used in. A
    classifier without batch normalization is left alone, and so are layers that are frozen when this is made. Nothing
    is drawn at random, so a resumed fit is the same fit.
    """

    def __init__(self, classifier: keras.Model, images: np.ndarray, rows: np.ndarray, batch_size: int) -> None:
        super().__init__()
        self.layers = [
            layer
            for layer in all_layers(classifier)
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        self.images = images
        # Batches of one size: one compiled step, and each batch weighs the same.
        count = max(len(rows) // batch_size, 1)
        self.batches = [np.sort(rows[start::count][:batch_size]) for start in range(count)]
        self.dropouts = [layer for layer in all_layers(classifier) if hasattr(layer, "rate")]
        self.forward = _InTrainingMode(classifier)
        self.validated = False

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self.validated = True
        self.estimate()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if not self.validated:
            self.estimate()

    def estimate(self) -> None:
        """Set mean and variance of each layer to those of all batches together (law of total variance)."""
        if not self.layers:
            return
        means, variances = [], []
        with self._batch_by_batch():
            for rows in self.batches:
                self.forward.predict_on_batch(self.images[rows])
                means.append([_array(layer.moving_mean) for layer in self.layers])
                variances.append([_array(layer.moving_variance) for layer in self.layers])
        for layer, mean, variance in zip(
            self.layers, zip(*means, strict=True), zip(*variances, strict=True), strict=True
        ):
            layer.moving_mean.assign(np.mean(mean, axis=0))
            layer.moving_variance.assign(np.mean(variance, axis=0) + np.var(mean, axis=0))

    @contextlib.contextmanager
    def _batch_by_batch(self) -> Iterator[None]:
        """Momentum 0 leaves the last batch's own statistics in a layer; the step is compiled in here."""
        momenta, rates = [layer.momentum for layer in self.layers], [layer.rate for layer in self.dropouts]
        for layer in self.layers:
            layer.momentum = 0.0
        for dropout in self.dropouts:
            dropout.rate = 0.0
        try:
            yield
        finally:
            for layer, momentum in zip(self.layers, momenta, strict=True):
                layer.momentum = momentum
            for dropout, rate in zip(self.dropouts, rates, strict=True):
                dropout.rate = rate


class _InTrainingMode(keras.Model):
    """The classifier as `fit` runs it: batch normalization by the batch at hand."""

    def __init__(self, classifier: keras.Model) -> None:
        super().__init__(name="statistics")
        self.classifier = classifier
        self.built = True

    def call(self, images: Any) -> Any:
        return self.classifier(images, training=True)


def _array(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), "float64")
