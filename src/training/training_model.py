"""The model that is fitted: a classifier behind the augmentation of its training images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras

from ..config import Config
from ..models.augmentation import Augmentation
from .auxiliary_head import AuxiliaryHead
from .backend import split_over_devices, use_xla
from .device_images import DeviceImages
from .optimizers import create_optimizer
from .stages import Stage


class TrainingModel(keras.Model):
    """A classifier behind its augmentation. Labels go in beside the images, because mixing images mixes labels.

    The loss is taken against the labels that augmentation gives; metrics against the true ones. Outside training,
    augmentation is not run at all. With `on_device`, batches may name images that lie there already. With an
    `auxiliary` head, the labels of a training batch are followed by the shares that it learns; images of neither
    class, whose true label is negative, do not count in metrics.
    """

    def __init__(
        self,
        classifier: keras.Model,
        augmentation: Augmentation,
        on_device: DeviceImages | None = None,
        auxiliary: AuxiliaryHead | None = None,
    ) -> None:
        super().__init__(name="training", dtype="float32")  # the labels; the classifier has its own
        self.classifier = classifier
        self.augmentation = augmentation
        self.on_device = on_device
        self.auxiliary = auxiliary

    def build(self, input_shape: Any) -> None:
        """Nothing to make: the classifier comes built."""
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
        batch = self.on_device.take(inputs) if self.on_device and "rows" in inputs else inputs
        batch = split_over_devices(batch)
        batch = self.augmentation(batch) if training else batch
        if self.auxiliary is None or not training:
            return {"probability": self.classifier(batch["images"], training=training), "label": batch["labels"]}
        probability, logits = self.auxiliary(batch["images"])
        labels = batch["labels"]
        return {"probability": probability, "label": labels[:, :1], "logits": logits, "shares": labels[:, 1:]}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        loss = super().compute_loss(x, y_pred["label"], y_pred["probability"], sample_weight, training)
        if self.auxiliary is None or "logits" not in y_pred:
            return loss
        return loss + self.auxiliary.loss(y_pred["shares"], y_pred["logits"])

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        counted = sample_weight if self.auxiliary is None else keras.ops.cast(y >= 0, "float32")
        return super().compute_metrics(x, y, y_pred["probability"], counted)


def compile_model(
    model: TrainingModel, config: Config, steps_per_epoch: int, stage: Stage, *, ema: float = 0.0
) -> None:
    """Give the model its optimizer, loss and metrics for a stage of the fit."""
    optimizer = replace(config.optimizer, learning_rate=stage.rate * config.optimizer.learning_rate)
    metrics = [keras.metrics.BinaryAccuracy(name="accuracy"), keras.metrics.AUC(name="auc")]
    model.compile(
        optimizer=create_optimizer(optimizer, steps_per_epoch, stage.end - stage.begin, ema=ema),
        loss=keras.losses.BinaryCrossentropy(label_smoothing=config.trainer.label_smoothing),
        **{"metrics" if model.auxiliary is None else "weighted_metrics": metrics},
        jit_compile=use_xla(),
        steps_per_execution=min(config.trainer.steps_per_execution, steps_per_epoch),
    )
