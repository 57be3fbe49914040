"""The model that is fitted: augmentation, classifier, an auxiliary head, the optimizer and the stages of the fit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import layers, ops

from ..config import Config, OptimizerConfig
from ..data.prepared import PreparedDataset
from ..errors import ConfigError
from ..models.augmentation import Augmentation
from ..models.classifier import head_layers
from .backend import split_over_devices, use_xla
from .batches import DeviceImages


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


class AuxiliaryHead(layers.Layer):
    """Logits of `classes` classes from the features of `classifier`, the input of its last layer."""

    def __init__(self, classifier: keras.Model, classes: int, weight: float, label_smoothing: float) -> None:
        super().__init__(name="auxiliary", dtype="float32")
        features = classifier.layers[-1].input
        self.body = keras.Model(classifier.inputs, [features, classifier.output], name="body")
        self.dense = layers.Dense(classes, dtype="float32", name="auxiliary_logits")
        self.dense.build(features.shape)
        self.weight = weight
        self.crossentropy = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
        self.built = True

    def call(self, images: Any) -> tuple[Any, Any]:
        """The classifier's probabilities (batch, 1) and the head's logits (batch, classes), in training."""
        features, probability = self.body(images, training=True)
        return probability, self.dense(features)

    def loss(self, shares: Any, logits: Any) -> Any:
        """The weighted cross-entropy to the `shares` of each class (batch, classes); rows of zeros have none."""
        known = ops.cast(ops.sum(shares, axis=-1) > 0, "float32")
        return self.weight * self.crossentropy(shares, logits, sample_weight=known)


def create_auxiliary_head(classifier: keras.Model, dataset: PreparedDataset, config: Config) -> AuxiliaryHead | None:
    """The head for what `dataset` says of further classes; None where it says nothing or `config` leaves them out."""
    trainer = config.trainer
    if dataset.auxiliary is None or not trainer.auxiliary_weight or trainer.overfit:
        return None
    return AuxiliaryHead(classifier, len(dataset.auxiliary.classes), trainer.auxiliary_weight, trainer.label_smoothing)


def create_optimizer(
    config: OptimizerConfig, steps_per_epoch: int, epochs: int, *, ema: float = 0.0
) -> keras.optimizers.Optimizer:
    """The optimizer that `config` names, with its schedule laid over `epochs` of `steps_per_epoch` updates.

    `ema` is the momentum of a moving average of the weights (Polyak and Juditsky 1992, doi 10.1137/0330046); 0 is none.

    `plateau` starts constant here; `plateau_callback` lowers the rate while fitting. Where the global dtype policy
    is mixed_float16 the loss is scaled, so that small gradients do not vanish (Micikevicius et al. 2018, arXiv
    1710.03740).
    """
    common = {
        "learning_rate": learning_rate(config, steps_per_epoch, epochs),
        "weight_decay": config.weight_decay or None,
        "global_clipnorm": config.clip_norm,
        **({"use_ema": True, "ema_momentum": ema} if ema else {}),
    }
    if config.name == "sgd":
        optimizer = keras.optimizers.SGD(momentum=config.momentum, nesterov=config.momentum > 0, **common)
    elif config.name == "adamw":
        optimizer = keras.optimizers.AdamW(beta_1=config.momentum, **common | {"weight_decay": config.weight_decay})
    else:
        optimizer = keras.optimizers.Adam(beta_1=config.momentum, **common)
    if config.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if keras.config.dtype_policy().name == "mixed_float16":
        # Keras does this itself for a model of that policy; ours is float32 around a classifier that computes in it.
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def learning_rate(
    config: OptimizerConfig, steps_per_epoch: int, epochs: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """A constant rate, or a linear warm-up followed by a constant or by half a cosine (Loshchilov & Hutter, 2017)."""
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    if config.schedule != "cosine" and not warmup_steps:
        return config.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        # The first of the warm-up's updates counts too: the rate rises from target / (steps + 1), not from 0.
        initial_learning_rate=config.learning_rate / (warmup_steps + 1),
        decay_steps=max(1, epochs * steps_per_epoch - warmup_steps),
        alpha=config.final_learning_rate if config.schedule == "cosine" else 1.0,
        warmup_target=config.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


def plateau_callback(config: OptimizerConfig, monitor: str, mode: str) -> list[keras.callbacks.Callback]:
    """Lower the rate by `plateau_factor` after `plateau_patience` epochs without improvement, where configured."""
    if config.schedule != "plateau":
        return []
    return [
        keras.callbacks.ReduceLROnPlateau(
            monitor=monitor, mode=mode, factor=config.plateau_factor, patience=config.plateau_patience
        )
    ]


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
        """Return whether nothing is left of it; the last one also gives back the best weights."""
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
