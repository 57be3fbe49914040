"""Fit a classifier to the training split of a prepared dataset."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import keras
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ..config import AugmentationConfig, Config, plain, project_path
from ..config.base import role_of
from ..config.identity import flat_params
from ..data.prepared import PreparedDataset
from ..data.samples import AUXILIARY_LABEL
from ..errors import TrainingError
from ..models.augmentation import Augmentation
from .backend import gpus, is_out_of_memory, memory_errors
from .batches import Batches, OrderBatches, balanced_weights, device_images
from .callbacks import (
    AverageWeights,
    EstimateBatchStatistics,
    Logs,
    NonFiniteLossError,
    ReportEpochs,
    ShowProgress,
    StopAtFullAccuracy,
    StopEarly,
    TerminateOnNonFiniteLoss,
    tensorboard_callbacks,
)
from .checkpoint import Checkpoint, History
from .model import TrainingModel, compile_model, create_auxiliary_head, plateau_callback, stages, unfreeze

if TYPE_CHECKING:
    from ..models.host_augmentation import HostAugmentation

LAST_GOOD = "last_good.keras"


class Observer(Protocol):
    """The receiver of a fit's reports: where it prints, where its state and its TensorBoard logs go (None: nowhere)."""

    @property
    def console(self) -> Console: ...

    @property
    def state(self) -> Path | None: ...

    @property
    def tensorboard(self) -> Path | None: ...

    def epoch(self, metrics: Logs, epoch: int) -> None:
        """Take the metrics of an epoch, counted from 0."""


@dataclass(frozen=True)
class FitResult:
    """Metrics by epoch (`val_*` of validation), the epoch whose weights are restored (from 1), and the seconds."""

    history: dict[str, list[float]]
    best_epoch: int
    seconds: float

    @property
    def best(self) -> dict[str, float]:
        """`best/val_*`: validation metrics of the epoch whose weights are restored."""
        return {f"best/{name}": values[self.best_epoch - 1] for name, values in self.history.items() if "val_" in name}


def fit(
    classifier: keras.Model,
    dataset: PreparedDataset,
    config: Config,
    observer: Observer,
) -> FitResult:
    """Fit `classifier` in place with binary cross-entropy and leave it with the weights of its best epoch.

    With `trainer.freeze` only the head is trained at first; the best epoch is one of those in which all is. The fit
    goes on from the state in `trainer.checkpoint` or else in the observer's folder. Raises TrainingError for a loss
    that is not finite (the best weights until then are left in the folder of the state), for a lack of memory, or for
    the state of another fit, and ConfigError where there is nothing to freeze.
    """
    trainer = config.trainer
    auxiliary = create_auxiliary_head(classifier, dataset, config)
    train, validation = _batches(dataset, config, with_auxiliary=auxiliary is not None)
    last = min(trainer.epochs, trainer.stop_after or trainer.epochs)
    progress = ShowProgress(observer.console, last)
    stopping = _stopping(config, dataset)
    folder = project_path(trainer.checkpoint) if trainer.checkpoint else observer.state
    checkpoint = Checkpoint(folder, stopping, _identity(config, dataset)) if folder else History()
    augmentation = Augmentation(AugmentationConfig("none") if train.augmentation else config.aug)
    start = time.perf_counter()
    with contextlib.closing(progress), _user_errors(classifier, config, stopping, folder):
        for stage in stages(config):
            checkpoint.stage = stage.number
            if stage.is_over(checkpoint.epochs_done) or stage.begin >= last:
                continue
            stage.set_trainable(classifier, config)
            average = [AverageWeights()] if trainer.ema and stage.is_last and validation else []
            callbacks = [OrderBatches(train), TerminateOnNonFiniteLoss(train, dataset.paths)]
            callbacks += [ReportEpochs(observer.epoch, len(train.rows)), progress]
            callbacks += tensorboard_callbacks(observer.tensorboard) if stage.is_last else []
            callbacks += [*average, *_statistics(classifier, dataset, config)]
            callbacks += [*(stopping if stage.is_last else []), *(each.back for each in average), checkpoint]
            model = TrainingModel(classifier, augmentation, (validation or train).on_device, auxiliary)
            compile_model(model, config, len(train), stage, ema=trainer.ema if average else 0.0)
            model.fit(
                train.feed(),
                validation_data=validation.feed() if validation else None,
                initial_epoch=max(stage.begin, checkpoint.epochs_done),
                epochs=min(stage.end, last),
                callbacks=callbacks,
                shuffle=False,  # of whole batches, by a seed of Keras's own; `Batches` has shuffled the images
                verbose=0,
            )
    history = checkpoint.history
    if trainer.overfit:
        _check_overfit(history, trainer.epochs)
    return FitResult(history, _best_epoch(history, config), time.perf_counter() - start)


@contextlib.contextmanager
def _user_errors(
    classifier: keras.Model, config: Config, stopping: list[keras.callbacks.Callback], folder: Path | None
) -> Iterator[None]:
    """Raise TrainingError for a lack of memory, and for a non-finite loss with the best weights left in `folder`."""
    try:
        yield
    except NonFiniteLossError as error:
        raise TrainingError(f"{error}{_best_weights_kept(classifier, stopping, folder)}") from None
    except memory_errors() as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"out of memory: lower trainer.batch_size (it is {config.trainer.batch_size}), dataset.image_size "
            f"({config.dataset.image_size}) or the model's width (model.filters, model.dense)"
        ) from None
    finally:
        unfreeze(classifier)


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
    """List what a fit's state depends on. A longer fit may go on from a shorter one, unless its schedule spans
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


def _check_overfit(history: dict[str, list[float]], epochs: int) -> None:
    if history["accuracy"][-1] < 1:
        raise TrainingError(
            f"one batch was not learned in {epochs} epochs (accuracy {history['accuracy'][-1]:.3f}); "
            "check the labels and optimizer.learning_rate, and switch augmentation and dropout off"
        )


def overfit_rows(dataset: PreparedDataset, batch_size: int) -> np.ndarray:
    """The rows of one training batch, half of each class as far as they reach."""
    rows = dataset.rows("train")
    labels = dataset.table["label"].to_numpy()[rows]
    halves = [rows[labels == label][: batch_size // 2] for label in (0, 1)]
    return np.sort(np.concatenate(halves))


def _batches(dataset: PreparedDataset, config: Config, *, with_auxiliary: bool) -> tuple[Batches, Batches | None]:
    trainer, labels, targets = config.trainer, dataset.table["label"].to_numpy(), dataset.targets
    rows = overfit_rows(dataset, trainer.batch_size) if trainer.overfit else dataset.rows("train")
    weights = dataset.table["weight"].to_numpy("float32")
    if trainer.class_weights == "balanced":
        weights = weights * balanced_weights(labels, rows)
    on_device, make = device_images(dataset.images), partial(Batches, dataset.images)
    validation = None
    if not trainer.overfit:
        validation = make(labels, dataset.rows("validation"), trainer.batch_size, on_device=on_device)
    if with_auxiliary and dataset.auxiliary is not None:
        neither = dataset.auxiliary
        targets = np.column_stack([np.concatenate([targets, neither.targets]), neither.shares])
        labels = np.concatenate([labels, np.full(len(neither.table), AUXILIARY_LABEL, labels.dtype)])
        weights = np.concatenate([weights, neither.weights])
        rows = np.concatenate([rows, neither.rows])
    augmentation = _host_augmentation(config)
    train = make(
        labels,
        rows,
        trainer.batch_size,
        seed=config.seed,
        sample_weights=weights,
        targets=targets,
        on_device=None if augmentation else on_device,
        augmentation=augmentation,
    )
    return train, validation


def _host_augmentation(config: Config) -> HostAugmentation | None:
    """Create the augmentation on the host; None where nothing is changed, or the model's own layers do it: on a GPU,
    where they cost little, for changes that are known to them alone, and without OpenCV.
    """
    is_none = not any(value for name, value in plain(config.aug).items() if name != "name")
    if is_none or gpus() or find_spec("cv2") is None:
        return None
    from ..models.host_augmentation import HostAugmentation, can_run_on_host

    return HostAugmentation(config.aug) if can_run_on_host(config.aug) else None


def _statistics(classifier: keras.Model, dataset: PreparedDataset, config: Config) -> list[keras.callbacks.Callback]:
    """Over images of the two classes, as those that the model will be asked about."""
    trainer = config.trainer
    count = trainer.statistics_images
    if not count:
        return []
    rows = overfit_rows(dataset, trainer.batch_size) if trainer.overfit else dataset.rows("train")
    chosen = np.random.default_rng((config.seed, 1)).permutation(rows)[:count]
    return [EstimateBatchStatistics(classifier, dataset.images, chosen, trainer.batch_size)]


def _stopping(config: Config, dataset: PreparedDataset) -> list[keras.callbacks.Callback]:
    trainer, mode = config.trainer, _mode(config.trainer.monitor)
    if trainer.overfit:
        return [StopAtFullAccuracy()]
    keep_best = StopEarly(
        _chance(trainer.monitor, dataset.labels("validation")),
        monitor=trainer.monitor,
        mode=mode,
        patience=trainer.early_stopping or trainer.epochs,
    )
    return [keep_best, *plateau_callback(config.optimizer, trainer.monitor, mode)]


def _chance(monitor: str, labels: NDArray[np.float32]) -> float:
    """A little better than what one answer for all images gets of `labels`: 95 % of its log loss, AUC 0.6, or 5 points
    above the share of the larger class.
    """
    share = float(np.clip(labels.mean(), 1e-6, 1 - 1e-6))
    loss = -share * np.log(share) - (1 - share) * np.log(1 - share)
    return {"val_loss": 0.95 * loss, "val_auc": 0.6}.get(monitor, max(share, 1 - share) + 0.05)


def _mode(monitor: str) -> str:
    return "min" if monitor.endswith("loss") else "max"


def _best_epoch(history: dict[str, list[float]], config: Config) -> int:
    """The best of the epochs whose weights may be kept, from 1; the last one where none was validated."""
    begin = stages(config)[-1].begin
    values = history.get(config.trainer.monitor, [])[begin:]
    if not values:
        return len(history["loss"])
    best = np.argmin if _mode(config.trainer.monitor) == "min" else np.argmax
    return begin + int(best(values)) + 1
