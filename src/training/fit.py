"""Fit a classifier to the training split of a prepared dataset."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console

from ..config import Config, project_path
from ..config.identity import flat_params
from ..config.roles import role_of
from ..data.prepared import PreparedDataset
from ..errors import TrainingError
from ..models.augmentation import Augmentation
from .backend import is_out_of_memory, memory_errors, use_xla
from .batch_statistics import EstimateBatchStatistics
from .batches import Batches, OrderBatches, balanced_weights
from .callbacks import (
    Logs,
    NonFiniteLossError,
    ReportEpochs,
    ShowProgress,
    StopAtPerfection,
    TerminateOnNonFiniteLoss,
)
from .checkpoint import Checkpoint, History
from .optimizers import create_optimizer, plateau_callback

LAST_GOOD = "last_good.keras"
Report = Callable[[Logs, int], None]


@dataclass(frozen=True)
class Fit:
    """What a fit gave: metrics by epoch (`val_` for validation), the epoch whose weights are kept (from 1), seconds."""

    history: dict[str, list[float]]
    best_epoch: int
    seconds: float


class TrainingModel(keras.Model):
    """A classifier behind its augmentation. Labels go in beside the pictures, because mixing pictures mixes labels.

    The loss is taken against the labels that augmentation gives; metrics against the true ones. Outside training,
    augmentation is not run at all.
    """

    def __init__(self, classifier: keras.Model, augmentation: Augmentation) -> None:
        super().__init__(name="training", dtype="float32")  # the labels; the classifier has its own
        self.classifier = classifier
        self.augmentation = augmentation

    def build(self, input_shape: Any) -> None:
        """Nothing to make: the classifier comes built."""
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
        batch = self.augmentation(inputs) if training else inputs
        return {"probability": self.classifier(batch["images"], training=training), "label": batch["labels"]}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        return super().compute_loss(x, y_pred["label"], y_pred["probability"], sample_weight, training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return super().compute_metrics(x, y, y_pred["probability"], sample_weight)


def fit(
    classifier: keras.Model,
    dataset: PreparedDataset,
    config: Config,
    *,
    report: Report,
    console: Console,
    state: Path | None = None,
) -> Fit:
    """Fit `classifier` in place with binary cross-entropy and leave it with the weights of its best epoch.

    `report(metrics, epoch)` is called after each epoch, counted from 0. `state` is a folder for the state between
    epochs, from which the fit goes on; `trainer.checkpoint` stands before it. Raises TrainingError for a loss that is
    not finite (the best weights until then are left in that folder), for a lack of memory, or for the state of another
    fit.
    """
    trainer = config.trainer
    train, validation = _batches(dataset, config)
    model = _compiled(classifier, config, len(train))
    progress = ShowProgress(console)
    stopping = _stopping(config)
    folder = project_path(trainer.checkpoint) if trainer.checkpoint else state
    checkpoint = Checkpoint(folder, stopping, _identity(config, dataset)) if folder else History()
    reporters = [ReportEpochs(report, len(train.rows)), progress]
    statistics = _statistics(classifier, dataset, config, train.rows)
    guard = TerminateOnNonFiniteLoss(train, dataset.table["path"].tolist())
    callbacks = [OrderBatches(train), guard, *statistics, *reporters, *stopping, checkpoint]
    start = time.perf_counter()
    try:
        model.fit(
            train,
            validation_data=validation,
            initial_epoch=checkpoint.epochs_done,
            epochs=min(trainer.epochs, trainer.stop_after or trainer.epochs),
            callbacks=callbacks,
            shuffle=False,  # of whole batches, by a seed of Keras's own; `Batches` has shuffled the pictures
            verbose=0,
        )
    except NonFiniteLossError as error:
        raise TrainingError(f"{error}{_best_weights_kept(classifier, stopping, folder)}") from None
    except memory_errors() as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"out of memory: lower trainer.batch_size (it is {trainer.batch_size}), dataset.image_size "
            f"({config.dataset.image_size}) or the model's width (model.filters, model.dense)"
        ) from None
    finally:
        progress.close()
    history = checkpoint.history
    if trainer.overfit and history["accuracy"][-1] < 1:
        raise TrainingError(
            f"one batch was not learned in {trainer.epochs} epochs (accuracy {history['accuracy'][-1]:.3f}); "
            "check the labels and optimizer.learning_rate, and switch augmentation and dropout off"
        )
    return Fit(history, _best_epoch(history, trainer.monitor), time.perf_counter() - start)


def _best_weights_kept(classifier: keras.Model, stopping: list[keras.callbacks.Callback], folder: Path | None) -> str:
    """Leave the best weights of a fit that broke off in `folder` and say where; empty where there are none yet."""
    best = next((callback for callback in stopping if getattr(callback, "best_weights", None) is not None), None)
    if best is None or folder is None:
        return ""
    best.model.set_weights(best.best_weights)
    folder.mkdir(parents=True, exist_ok=True)
    classifier.save(folder / LAST_GOOD)
    return f"; the weights of epoch {best.best_epoch + 1} are kept in {folder / LAST_GOOD}"


def _identity(config: Config, dataset: PreparedDataset) -> dict[str, str]:
    """What the state of a fit depends on. A longer fit may go on from a shorter one, unless its schedule is laid over
    all epochs.
    """
    free = ["trainer.stop_after", *([] if config.optimizer.schedule == "cosine" else ["trainer.epochs"])]
    params = {
        key: value
        for key, value in flat_params(config).items()
        if role_of(key, Config) is None and key not in free and not key.startswith("evaluation.")
    }
    splits = {f"digest.{split}": digest for split, digest in dataset.split_digests.items()}
    return {**params, "digest.data": dataset.digest, **splits}


def _compiled(classifier: keras.Model, config: Config, steps_per_epoch: int) -> TrainingModel:
    model = TrainingModel(classifier, Augmentation(config.aug))
    model.compile(
        optimizer=create_optimizer(config.optimizer, steps_per_epoch, config.trainer.epochs),
        loss=keras.losses.BinaryCrossentropy(label_smoothing=config.trainer.label_smoothing),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy"), keras.metrics.AUC(name="auc")],
        jit_compile=use_xla(),
        steps_per_execution=min(config.trainer.steps_per_execution, steps_per_epoch),
    )
    return model


def overfit_rows(dataset: PreparedDataset, batch_size: int) -> np.ndarray:
    """The rows of one training batch, half of each class as far as they reach."""
    rows = dataset.rows("train")
    labels = dataset.table["label"].to_numpy()[rows]
    halves = [rows[labels == label][: batch_size // 2] for label in (0, 1)]
    return np.sort(np.concatenate(halves))


def _batches(dataset: PreparedDataset, config: Config) -> tuple[Batches, Batches | None]:
    trainer, labels = config.trainer, dataset.table["label"].to_numpy()
    rows = overfit_rows(dataset, trainer.batch_size) if trainer.overfit else dataset.rows("train")
    weights = dataset.table["weight"].to_numpy("float32")
    if trainer.class_weights == "balanced":
        weights = weights * balanced_weights(labels, rows)
    train = Batches(dataset.images, labels, rows, trainer.batch_size, seed=config.seed, sample_weights=weights)
    if trainer.overfit:
        return train, None
    return train, Batches(dataset.images, labels, dataset.rows("validation"), trainer.batch_size)


def _statistics(
    classifier: keras.Model, dataset: PreparedDataset, config: Config, rows: np.ndarray
) -> list[keras.callbacks.Callback]:
    count = config.trainer.statistics_pictures
    if not count:
        return []
    chosen = np.random.default_rng((config.seed, 1)).permutation(rows)[:count]
    return [EstimateBatchStatistics(classifier, dataset.images, chosen, config.trainer.batch_size)]


def _stopping(config: Config) -> list[keras.callbacks.Callback]:
    trainer, mode = config.trainer, _mode(config.trainer.monitor)
    if trainer.overfit:
        return [StopAtPerfection()]
    keep_best = keras.callbacks.EarlyStopping(
        monitor=trainer.monitor,
        mode=mode,
        patience=trainer.early_stopping or trainer.epochs,
        restore_best_weights=True,
    )
    return [keep_best, *plateau_callback(config.optimizer, trainer.monitor, mode)]


def _mode(monitor: str) -> str:
    return "min" if monitor.endswith("loss") else "max"


def _best_epoch(history: dict[str, list[float]], monitor: str) -> int:
    values = history.get(monitor)
    if not values:
        return len(history["loss"])
    best = np.argmin if _mode(monitor) == "min" else np.argmax
    return int(best(values)) + 1
