"""The configs of the commands beside `src.train`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

from annotated_types import Interval, Len

from .base import LAUNCH, Count, PositiveNumber, Strict, as_text, with_role
from .checking import suggest
from .data import DatasetConfig
from .run import Config, EvaluationConfig, Objective, TrackingConfig


@dataclass(frozen=True)
class ParameterConfig(Strict):
    """The values of one override key in a search: a `choice`, or numbers from `min` to `max`, both included.

    `log` samples numbers evenly in their logarithm, `integer` takes integers; those of a range with `step` are that far
    apart. With `conditions`, the key is only set where other keys of the space have one of the given values.
    """

    choice: list[Any] | None = None
    min: float | None = None
    max: float | None = None
    step: PositiveNumber | None = None
    log: bool = False
    integer: bool = False
    conditions: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.choice is not None:
            self._check_choice(self.choice)
        elif self.min is None or self.max is None:
            raise ValueError("a parameter needs either a choice or both min and max")
        else:
            self._check_range(self.min, self.max)

    def _check_choice(self, choice: list[Any]) -> None:
        ranged = {"min": self.min, "max": self.max, "step": self.step, "log": self.log, "integer": self.integer}
        beside = [name for name, value in ranged.items() if value is not None and value is not False]
        if beside:
            raise ValueError(f"{beside[0]} has no meaning beside a choice; leave one of them out")
        if not choice:
            raise ValueError("choice=[] has no value to try")

    def _check_range(self, low: float, high: float) -> None:
        if not low < high:
            raise ValueError(f"min={low} must be below max={high}")
        if self.log and not low > 0:
            raise ValueError("log needs a min above 0")
        if self.log and self.step is not None:
            raise ValueError("step has no meaning with log; leave one of them out")
        if self.integer and not all(float(each).is_integer() for each in (low, high, self.step or 1.0)):
            raise ValueError("integer needs whole numbers as min, max and step")
        if self.step is not None and (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(self.step)):
            raise ValueError(f"steps of {self.step} do not lead from min={low} to max={high}")


@dataclass(frozen=True)
class TunerConfig(Strict):
    """Settings of a search and its end. `objective` is a validation metric: `val_*` of the epoch that is kept, or
    `validation/*` as evaluated.

    `max_failures` counts failed trials in a row. Models above `max_parameters` or `max_flops` (of one image's forward
    pass) are rejected untrained. For hyperband, `factor` is the share of trials that go on, and the epochs grow by it.
    """

    name: Literal["random", "hyperband", "bayesian", "grid"]
    objective: str = "val_auc"
    max_trials: Count = 30
    max_minutes: PositiveNumber | None = None
    max_parameters: Count | None = None
    max_flops: Count | None = None
    max_failures: Count = 3
    workers: Count = 1
    backend: Literal["workers", "ray"] = "workers"
    seed: Annotated[int, Interval(ge=1, lt=2**31)] = 1
    factor: Annotated[int, Interval(ge=2, le=10)] = 3
    save_as: str | None = None

    def __post_init__(self) -> None:
        if "test" in self.objective:
            raise ValueError(f"objective={self.objective}: the test part is never searched on; use a validation metric")
        known = sorted((name.removeprefix("best/") for name in get_args(Objective)), key=lambda name: "/" in name)
        if self.objective not in known:
            raise ValueError(f"objective={self.objective}: accepts {', '.join(known)}{suggest(self.objective, known)}")
        if self.save_as is not None and not re.fullmatch(r"\w[\w.-]*", self.save_as):
            raise ValueError(f"save_as={self.save_as}: is a part of a file's name: letters, digits, - . _")


@dataclass(frozen=True)
class TuneConfig(Config):
    """A search: `space` has the override keys to vary, all other values are those of every trial."""

    tuner: TunerConfig = with_role(LAUNCH, default_factory=lambda: TunerConfig("random"))
    space: dict[str, ParameterConfig] = with_role(LAUNCH, default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trainer.overfit:
            raise ValueError("trainer=overfit validates no trial; use trainer=default")
        for key, parameter in self.space.items():
            for parent, accepted in parameter.conditions.items():
                self._check_condition(key, parent, accepted)

    def _check_condition(self, key: str, parent: str, accepted: list[Any]) -> None:
        where, above = f"space.{key}.conditions.{parent}", list(self.space)[: list(self.space).index(key)]
        choice = self.space[parent].choice if parent in above else None
        if choice is None:
            raise ValueError(f"{where}: accepts a key with a choice that stands above {key}")
        kinds = [(value, isinstance(value, bool)) for value in choice]
        unknown = [value for value in accepted if (value, isinstance(value, bool)) not in kinds]
        if unknown or not accepted:
            got = as_text(unknown[0]) if unknown else "[]"
            raise ValueError(f"{where}={got}: accepts {', '.join(map(as_text, choice))}")


@dataclass(frozen=True)
class AuditConfig(Config):
    """A search for wrong labels: how to train the model of each of `dataset.split.folds` folds, and how many suspects
    the page has (`shown`). `output` is the folder of page and manifest.
    """

    shown: Count = with_role(LAUNCH, default=300)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trainer.overfit:
            raise ValueError("trainer=overfit answers for no fold; use trainer=default")


@dataclass(frozen=True)
class CompareConfig(Strict):
    """Settings of `src.compare`: the recorded runs and the metric. `filter` is MLflow's; `output` is a folder."""

    tracking: TrackingConfig
    filter: str = ""
    metric: Literal["accuracy", "balanced_accuracy", "log_loss", "brier"] = "accuracy"
    resamples: Annotated[int, Interval(ge=100, le=100_000)] = 2000
    output: str = "outputs/compare"
    log: bool = True
    print_config: bool = False


@dataclass(frozen=True)
class EvaluateConfig(Strict):
    """Settings of `src.evaluate`: the recorded model and the data; `dataset` null is the data that it was trained on.

    `leaks` says what happens to images of another data set that the model was fitted on. `output` keeps the record in
    a folder too.
    """

    tracking: TrackingConfig
    evaluation: EvaluationConfig
    run: str = "latest"
    dataset: DatasetConfig | None = None
    leaks: Literal["drop", "keep", "error"] = "drop"
    output: str | None = None
    print_config: bool = False

    def __post_init__(self) -> None:
        trained = EvaluationConfig()
        for name in ("threshold", "calibrate", "flip", "abstain_accuracy"):
            if getattr(self.evaluation, name) != getattr(trained, name):
                raise ValueError(f"evaluation.{name} is settled by training, and recorded with the model; leave it out")


@dataclass(frozen=True)
class PrepareConfig(Strict):
    """Settings of `src.prepare`: the data set to report on.

    `leak_check` is another one to compare it with. `quarantine` names a folder into which the rejected files are
    copied for a look; `output` the folder of the report.
    """

    dataset: DatasetConfig
    leak_check: DatasetConfig | None = None
    quarantine: str | None = None
    output: str = "outputs/prepare"
    print_config: bool = False


@dataclass(frozen=True)
class ExportConfig(Strict):
    """Settings of `src.export`: the recorded model, folder and formats, and how far these may be from Keras.

    A bundle that is there already is replaced with `overwrite` only.

    `tolerance` is the largest difference of the probability on any validation image for the float formats,
    `int8_tolerance` the largest mean difference for int8.

    With a `scene`, another recorded model, `run` is the model for faces, and both become one bundle for photos; either
    may be a bundle's folder. The photos are those of `dataset`, null being the scene model's own, in its splits or, by
    regular expressions on their paths, in `validation`, on which the fusion is fitted, and `test`. With `evidence`, a
    Parquet table of what such models say of other photos, out of fold, it is fitted on that. Answers are `unsure`
    below the probability `unsure_below`; the card tells scores by what the regular expression `groups` finds in the
    paths, and `notes`, a text or the path of a Markdown file.
    """

    tracking: TrackingConfig
    run: str = "latest"
    output: str = "outputs/bundle"
    overwrite: bool = False
    formats: Annotated[list[Literal["keras", "litert", "int8", "onnx"]], Len(1, 4)] = field(
        default_factory=lambda: ["keras", "litert", "int8", "onnx"]
    )
    tolerance: PositiveNumber = 1e-4
    int8_tolerance: PositiveNumber = 0.02
    print_config: bool = False
    scene: str | None = None
    unsure_below: Annotated[float, Interval(ge=0.5, lt=1)] = 0.6
    groups: str | None = None
    notes: str | None = None
    dataset: DatasetConfig | None = None
    validation: str | None = None
    test: str | None = None
    evidence: str | None = None

    def __post_init__(self) -> None:
        for name in ("groups", "validation", "test"):
            pattern = getattr(self, name)
            try:
                re.compile(pattern or "")
            except re.error as error:
                raise ValueError(f"{name}={pattern}: no regular expression: {error}") from None
        if self.scene is None and (self.dataset or self.validation or self.test or self.evidence):
            raise ValueError(
                "dataset, validation, test and evidence are for fusing two models; name the second by scene="
            )


@dataclass(frozen=True)
class RerunConfig(Strict):
    """Settings of `src.rerun`: the recorded run to repeat."""

    tracking: TrackingConfig
    run: str = "latest"
    print_config: bool = False


@dataclass(frozen=True)
class RegisterConfig(Strict):
    """Settings of `src.register`: the recorded model, the registered `name` and the alias.

    The alias moves only to a model that is not found worse by `metric` than the one that holds it. `margin` asks for
    more: the interval of the difference must end above -margin. `force` moves it all the same, for the recorded
    `reason`; `rollback` registers nothing and gives the alias back to the version that held it before.
    """

    tracking: TrackingConfig
    run: str = "latest"
    name: str = "happy-sad"
    alias: str = "champion"
    metric: Literal["accuracy", "balanced_accuracy", "log_loss", "brier"] = "accuracy"
    margin: PositiveNumber | None = None
    resamples: Annotated[int, Interval(ge=100, le=100_000)] = 2000
    force: bool = False
    reason: str | None = None
    rollback: bool = False
    print_config: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise ValueError(f"name={self.name}: accepts letters, digits and _ - .")
        if not re.fullmatch(r"[\w-]+", self.alias) or re.fullmatch(r"latest|v\d+", self.alias, re.IGNORECASE):
            raise ValueError(f"alias={self.alias}: accepts letters, digits and _ -, but neither latest nor v1, v2, ...")
        if self.reason is not None and not self.force:
            raise ValueError("reason= goes with force=true")
        if self.rollback and self.force:
            raise ValueError("rollback=true asks for no comparison; leave force=true out")
