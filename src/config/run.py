"""The typed config of what runs beside one another: the jobs of a sweep, and the cluster that takes them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval, Le, Len, Lt

from .base import (
    ENVIRONMENT,
    EVALUATION,
    LAUNCH,
    SESSION,
    Count,
    Fraction,
    NonNegative,
    PositiveNumber,
    Rate,
    Seed,
    Strict,
    WholeNumber,
    reject_password,
    with_role,
)
from .data import DatasetConfig


@dataclass(frozen=True)
class SweepConfig(Strict):
    """Settings of the jobs of `python -m src.train -m ...`: `n_jobs` at a time, sharing the cores.

    `fail_fast` ends the sweep at the first job that fails; `skip_finished` leaves out jobs whose config has a finished
    run in the experiment.
    """

    n_jobs: Count = 1
    fail_fast: bool = False
    skip_finished: bool = False


@dataclass(frozen=True)
class ClusterConfig(Strict):
    """A Ray cluster, and what a job gets of it: processors, GPUs (or a share of one), starts after a lost machine.

    `address` null means the one that RAY_ADDRESS names, else a Ray of its own on this machine.
    """

    address: str | None = None
    num_cpus: PositiveNumber = 1
    num_gpus: Annotated[float, Ge(0)] = 0
    max_retries: Annotated[int, Ge(0)] = 3


Objective = Literal[
    "validation/accuracy",
    "validation/balanced_accuracy",
    "validation/precision",
    "validation/recall",
    "validation/specificity",
    "validation/f1",
    "validation/mcc",
    "validation/roc_auc",
    "validation/average_precision",
    "validation/log_loss",
    "validation/brier",
    "best/val_loss",
    "best/val_accuracy",
    "best/val_auc",
]
"""What an optimizing sweeper may be given of a run: scores of validation, never of test."""


@dataclass(frozen=True)
class ModelConfig(Strict):
    """`architecture` is one that is registered in `src/models`; the other values describe the CNN family. `filters`
    gives the width of each stage; a stage is `convolutions` layers and a pooling.

    `standardize` brings each image's pixels to mean 0 and variance 1 first, so that its light and contrast are nothing
    to learn. `gray` lets the model see lightness only, so that gray and colored images of one face are one to it.
    `weights` null draws them; else they are those of a recorded run (its id, models:/NAME@ALIAS, a folder written by
    `output=`), of a file (.keras, .weights.h5, or .h5 or .pth of a backbone) or, of a backbone, those published
    (`imagenet`). `blocks` cuts off `efficientnet_lite0` behind that many of its sixteen. `enlarge` gives the network
    images of so many times the side, interpolated, so that one that was made for larger images sees more of small ones.
    """

    name: str
    architecture: str = "cnn"
    standardize: bool = False
    gray: bool = False
    filters: Annotated[list[Count], Len(1, 8)] = field(default_factory=lambda: [16, 32, 16])
    convolutions: Annotated[int, Interval(ge=1, le=8)] = 1
    kernel_size: Annotated[int, Interval(ge=1, le=11)] = 3
    convolution: Literal["standard", "separable"] = "standard"
    padding: Literal["valid", "same"] = "valid"
    stem_stride: Annotated[int, Interval(ge=1, le=4)] = 1
    normalization: Literal["none", "batch", "group", "layer"] = "none"
    activation: Literal["relu", "gelu", "silu", "leaky_relu"] = "relu"
    residual: bool = False
    head: Literal["flatten", "global_average", "global_max"] = "flatten"
    dense: Annotated[list[Count], Len(0, 4)] = field(default_factory=lambda: [256])
    dropout: Rate = 0.0
    spatial_dropout: Rate = 0.0
    blocks: Annotated[int, Interval(ge=1, le=16)] = 16
    enlarge: Annotated[int, Interval(ge=1, le=8)] = 1
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.residual and self.padding != "same":
            raise ValueError("residual=true needs padding=same, so that both paths have one shape")


@dataclass(frozen=True)
class OptimizerConfig(Strict):
    """The optimizer and its learning-rate schedule. Warm-up and plateau patience count epochs."""

    name: Literal["adam", "adamw", "sgd"]
    learning_rate: Annotated[float, Gt(0), Le(10)] = 1e-3
    weight_decay: NonNegative = 0.0
    momentum: Rate = 0.9
    clip_norm: PositiveNumber | None = None
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    warmup_epochs: NonNegative = 0.0
    final_learning_rate: Fraction = 0.0
    plateau_factor: Annotated[float, Gt(0), Lt(1)] = 0.5
    plateau_patience: Count = 3

    def __post_init__(self) -> None:
        if self.schedule == "plateau" and self.warmup_epochs:
            raise ValueError("schedule=plateau has no warm-up; set warmup_epochs=0")


@dataclass(frozen=True)
class AugmentationConfig(Strict):
    """Random changes to training images; 0 or false is off. Fractions are of the image or of the full range."""

    name: str
    flip: bool = False
    rotation: Annotated[float, Interval(ge=0, le=0.5)] = 0.0
    translation: Annotated[float, Interval(ge=0, le=0.5)] = 0.0
    zoom: Annotated[float, Interval(ge=0, le=0.9)] = 0.0
    shear: Annotated[float, Interval(ge=0, le=0.5)] = 0.0
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Annotated[float, Interval(ge=0, le=0.5)] = 0.0
    hue: Annotated[float, Interval(ge=0, le=0.5)] = 0.0
    grayscale: Fraction = 0.0
    resolution: Fraction = 0.0
    randaugment: Fraction = 0.0
    erasing: Fraction = 0.0
    mixup: NonNegative = 0.0
    cutmix: NonNegative = 0.0


@dataclass(frozen=True)
class TrainerConfig(Strict):
    """Settings of a fit. `overfit` fits a single batch and expects 100 %: the classic check of a training loop.

    `stop_after` ends the fit after that many of its `epochs`, over which the schedule is laid all the same.
    `checkpoint` is a folder for the state between epochs: a fit whose state is there goes on from it. `keep_state`
    keeps that of a recorded run until it is finished, so that `resume=` can go on with it. `tensorboard` writes
    curves and a profile of ten steps for TensorBoard.
    `statistics_images` is the number of training images over which batch normalization's statistics are estimated
    before each validation; 0 keeps Keras's moving averages.

    For the first `freeze` epochs only the head is trained, then all at the learning rate times `unfrozen_rate`; layers
    whose names begin with a match of the regular expression `frozen` are never trained. `ema` is the momentum of the
    weights' moving average, which is then validated and kept; 0 is none.

    Where the data set has auxiliary classes, `auxiliary_weight` is that of their head's loss; 0 leaves them out.
    """

    name: str
    epochs: Count = 20
    batch_size: Count = 32
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: Annotated[float, Ge(0), Lt(0.5)] = 0.0
    monitor: Literal["val_loss", "val_accuracy", "val_auc"] = "val_loss"
    early_stopping: WholeNumber = 6
    steps_per_execution: Count = 1
    statistics_images: WholeNumber = 2048
    freeze: WholeNumber = 0
    unfrozen_rate: Annotated[float, Gt(0), Le(1)] = 0.1
    frozen: str | None = None
    ema: Rate = 0.0
    auxiliary_weight: NonNegative = 1.0
    overfit: bool = False
    stop_after: Count | None = None
    checkpoint: str | None = with_role(ENVIRONMENT, default=None)
    keep_state: bool = with_role(ENVIRONMENT, default=True)
    tensorboard: bool = with_role(ENVIRONMENT, default=False)

    def __post_init__(self) -> None:
        try:
            re.compile(self.frozen or "")
        except re.error as error:
            raise ValueError(f"frozen={self.frozen}: no regular expression: {error}") from None


@dataclass(frozen=True)
class ThresholdConfig(Strict):
    """Choice of the probability from which an image is predicted positive, on the validation split.

    `fixed` takes `value` as it is; `precision` and `recall` reach `target`; `cost` counts one false positive as
    `false_positive_cost` false negatives.
    """

    policy: Literal["balanced_accuracy", "fixed", "precision", "recall", "cost"] = "balanced_accuracy"
    value: Fraction = 0.5
    target: Annotated[float, Gt(0), Le(1)] = 0.95
    false_positive_cost: PositiveNumber = 1.0


@dataclass(frozen=True)
class EvaluationConfig(Strict):
    """Settings of an evaluation. `seed` is apart from the run's seed: runs are compared on the same resamples.

    `flip` evaluates, keeps and exports a model that answers with the mean over an image and its mirror image.
    `abstain_accuracy` leaves the least certain images unanswered until the rest reach it on validation.
    `corruptions` lists the severities to test, `explanations` counts the images to explain; 0 or [] is none.
    `figures` is false where every image of the result is to be left out: curves, sheets and those of the card.
    """

    name: str = with_role(EVALUATION, default="default")
    threshold: ThresholdConfig = field(default_factory=ThresholdConfig)
    calibrate: bool = True
    flip: bool = False
    abstain_accuracy: Annotated[float, Gt(0), Le(1)] | None = None
    resamples: Annotated[int, Interval(ge=100, le=100_000)] = with_role(EVALUATION, default=2000)
    seed: Seed = with_role(EVALUATION, default=0)
    slices: bool = with_role(EVALUATION, default=True)
    figures: bool = with_role(EVALUATION, default=True)
    min_slice_size: Count = with_role(EVALUATION, default=30)
    corruptions: Annotated[list[Annotated[int, Interval(ge=1, le=5)]], Len(0, 5)] = with_role(
        EVALUATION, default_factory=list
    )
    corruption_images: Count = with_role(EVALUATION, default=1000)
    explanations: WholeNumber = with_role(EVALUATION, default=8)
    pointing_images: WholeNumber = with_role(EVALUATION, default=64)


@dataclass(frozen=True)
class TrackingConfig(Strict):
    """Place where runs are recorded. `uri` null means the project's own SQLite store under `mlruns/`.

    `system_metrics` samples the machine (processors, memory, disk, network, GPUs) while a run goes.
    """

    name: Literal["default", "local", "server", "off"]
    uri: str | None = None
    experiment: str = "happy-sad"
    log_model: bool = True
    system_metrics: bool = True

    def __post_init__(self) -> None:
        if not self.experiment.strip():
            raise ValueError("experiment= is empty; name one, or leave it out for happy-sad")
        reject_password("tracking.uri", self.uri)


@dataclass(frozen=True)
class Config(Strict):
    """Everything that can differ between two runs. `objective` is what an optimizing sweeper gets of each job."""

    dataset: DatasetConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    aug: AugmentationConfig
    trainer: TrainerConfig
    tracking: TrackingConfig = with_role(SESSION)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    sweep: SweepConfig = with_role(LAUNCH, default_factory=SweepConfig)
    cluster: ClusterConfig = with_role(LAUNCH, default_factory=ClusterConfig)
    objective: Objective = with_role(LAUNCH, default="validation/roc_auc")
    seed: Seed = 0
    name: str | None = with_role(SESSION, default=None)
    output: str | None = with_role(SESSION, default=None)
    print_config: bool = with_role(SESSION, default=False)
    resume: str | None = with_role(SESSION, default=None)

    def __post_init__(self) -> None:
        if self.output == "":
            raise ValueError("output= is empty; name a folder, or leave it out")
