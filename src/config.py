"""The typed configuration of a run: what Hydra composes from `conf/` is checked against these dataclasses.

Types and bounds stand in the annotations; `to_config` turns a composed tree into a frozen `Config` or raises one
`ConfigError` that names the key, what it got and what it accepts. Nothing heavy is imported here, so that a mistake
is reported before TensorFlow or MLflow start.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Interval, Le, Len, Lt

from src.errors import ConfigError

PROJECT_ROOT = Path(__file__).resolve().parent.parent

Count = Annotated[int, Ge(1)]
WholeNumber = Annotated[int, Ge(0)]
PositiveNumber = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Rate = Annotated[float, Ge(0), Lt(1)]
Seed = Annotated[int, Interval(ge=0, lt=2**32)]

ConfigType = TypeVar("ConfigType")


class Strict:
    """Base of every config dataclass: unknown keys are errors."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True)
class SplitConfig(Strict):
    """How whole groups are dealt to training, validation and test. `seed` is apart from the run's seed on purpose:
    runs that differ in their seed are judged on the same pictures.
    """

    method: Literal["stratified", "kfold", "source", "column", "hashed"] = "stratified"
    train: Fraction = 0.70
    validation: Fraction = 0.15
    test: Fraction = 0.15
    folds: Annotated[int, Interval(ge=2, le=100)] = 5
    fold: WholeNumber = 0
    seed: Seed = 0

    def __post_init__(self) -> None:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError("split: train, validation and test must add up to 1")
        if not 0 < self.validation < 1 or not 0 < self.test < 1 or not self.train:
            raise ValueError("split: train, validation and test must each be above 0")
        if self.fold >= self.folds:
            raise ValueError(
                f"split.fold={self.fold}: accepts 0 to {self.folds - 1}, one for each of the {self.folds} folds"
            )


@dataclass(frozen=True)
class DrawnConfig(Strict):
    """Faces drawn by the program: how many, from which seed, how alike the two classes are (0 apart, 1 the same)."""

    count: Annotated[int, Interval(ge=2, le=10_000_000)] = 1200
    seed: Seed = 0
    ambiguity: Fraction = 0.0


@dataclass(frozen=True)
class ManifestConfig(Strict):
    """The columns of a CSV or Parquet manifest; the last three need not be there. `root`, seen from the manifest, is
    the folder from which its paths count and which they may not leave.
    """

    path: str = "path"
    label: str = "label"
    split: str = "split"
    group: str = "group"
    weight: str = "weight"
    root: str = "."


@dataclass(frozen=True)
class SourceConfig(Strict):
    """Where pictures come from, and which class is which. `url` is fetched once into `downloads`, checked against
    `sha256`, and stands for `path`. `group_pattern` is a regular expression on a picture's path: what its first group
    finds (or all of it) names the subject whose pictures stay together. `weight` is the weight of each picture.
    """

    name: str
    source: Literal["drawn", "folder", "fer2013", "manifest", "metadata", "rafdb", "affectnet", "combined"]
    path: str | None = None
    url: str | None = None
    sha256: str | None = None
    downloads: str = ".cache/downloads"
    positive: str = "happy"
    negative: str = "sad"
    group_pattern: str | None = None
    weight: PositiveNumber = 1.0
    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    drawn: DrawnConfig = field(default_factory=DrawnConfig)


@dataclass(frozen=True)
class DatasetConfig(SourceConfig):
    """A source, or several `sources` together, and how its pictures are prepared.

    Two pictures are near-duplicates when their pHashes differ in at most `near_duplicate_distance` of 64 bits and their
    dHashes in at most `dhash_distance`; null groups only pictures with the same pixels. `verify=full` reads every file
    again instead of trusting size and time of change. `workers` null: one process for each core.
    """

    sources: dict[str, SourceConfig] = field(default_factory=dict)
    image_size: Annotated[int, Interval(ge=8, le=1024)] = 256
    limit: Annotated[int, Ge(6)] | None = None
    near_duplicate_distance: Annotated[int, Interval(ge=0, le=16)] | None = 6
    dhash_distance: Annotated[int, Interval(ge=0, le=64)] = 10
    cross_part_duplicates: Literal["drop_from_train", "keep", "error"] = "drop_from_train"
    max_megapixels: Annotated[float, Gt(0), Le(170)] = 64.0
    max_megabytes: PositiveNumber = 128.0
    min_side: Count = 8
    verify: Literal["stat", "full"] = "stat"
    workers: Count | None = None
    cache: str = ".cache/prepared"
    split: SplitConfig = field(default_factory=SplitConfig)


@dataclass(frozen=True)
class ModelConfig(Strict):
    """One CNN family. `filters` gives the width of each stage; a stage is `convolutions` layers and a pooling.

    `grey` lets the model see lightness only, so that grey and coloured pictures of one face are one to it.
    """

    name: str
    architecture: Literal["cnn"] = "cnn"
    grey: bool = False
    filters: Annotated[list[Count], Len(1, 8)] = field(default_factory=lambda: [16, 32, 16])
    convolutions: Annotated[int, Interval(ge=1, le=8)] = 1
    kernel_size: Annotated[int, Interval(ge=1, le=11)] = 3
    convolution: Literal["standard", "separable"] = "standard"
    padding: Literal["valid", "same"] = "same"
    stem_stride: Annotated[int, Interval(ge=1, le=4)] = 1
    normalization: Literal["none", "batch", "group", "layer"] = "none"
    activation: Literal["relu", "gelu", "silu", "leaky_relu"] = "relu"
    residual: bool = False
    head: Literal["flatten", "global_average", "global_max"] = "flatten"
    dense: Annotated[list[Count], Len(0, 4)] = field(default_factory=lambda: [256])
    dropout: Rate = 0.0
    spatial_dropout: Rate = 0.0

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
    """Random changes to training pictures; 0 or false is off. Fractions are of the picture or of the full range."""

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
    erasing: Fraction = 0.0
    mixup: NonNegative = 0.0
    cutmix: NonNegative = 0.0


@dataclass(frozen=True)
class TrainerConfig(Strict):
    """How a model is fitted. `overfit` fits a single batch and expects 100 %: the classic check of a training loop.

    `stop_after` ends the fit after that many of its `epochs`, over which the schedule is laid all the same.
    `checkpoint` is a folder for the state between epochs: a fit whose state is there goes on from it.
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
    overfit: bool = False
    stop_after: Count | None = None
    checkpoint: str | None = None


@dataclass(frozen=True)
class ThresholdConfig(Strict):
    """How the probability from which a picture is called positive is chosen on the validation part.

    `fixed` takes `value` as it is; `precision` and `recall` reach `target`; `cost` counts one false positive as
    `false_positive_cost` false negatives.
    """

    policy: Literal["balanced_accuracy", "fixed", "precision", "recall", "cost"] = "balanced_accuracy"
    value: Fraction = 0.5
    target: Annotated[float, Gt(0), Le(1)] = 0.95
    false_positive_cost: PositiveNumber = 1.0


@dataclass(frozen=True)
class EvaluationConfig(Strict):
    """How a model is judged. `seed` is apart from the run's seed: runs are compared on the same resamples.

    `abstain_accuracy` leaves the least certain pictures unanswered until the rest reach it on validation.
    `corruptions` lists the severities to test, `explanations` counts the pictures to explain; 0 or [] is none.
    """

    name: str = "default"
    threshold: ThresholdConfig = field(default_factory=ThresholdConfig)
    calibrate: bool = True
    abstain_accuracy: Annotated[float, Gt(0), Le(1)] | None = None
    resamples: Annotated[int, Interval(ge=100, le=100_000)] = 2000
    seed: Seed = 0
    slices: bool = True
    smallest_slice: Count = 30
    corruptions: Annotated[list[Annotated[int, Interval(ge=1, le=5)]], Len(0, 5)] = field(default_factory=list)
    corruption_pictures: Count = 1000
    explanations: WholeNumber = 8
    pointing_pictures: WholeNumber = 64


@dataclass(frozen=True)
class TrackingConfig(Strict):
    """Where runs are recorded. `uri` null means the project's own SQLite store under `mlruns/`; `parent` is the id of
    the sweep's run that this run belongs to.
    """

    name: Literal["local", "server", "off"]
    uri: str | None = None
    experiment: str = "happy-sad"
    log_model: bool = True
    parent: str | None = None


@dataclass(frozen=True)
class SweepConfig(Strict):
    """How the jobs of `python -m src.train -m ...` are run: `n_jobs` at a time, sharing the cores.

    `fail_fast` ends the sweep at the first job that fails; `skip_finished` leaves out jobs whose config has a finished
    run in the experiment.
    """

    n_jobs: Count = 1
    fail_fast: bool = False
    skip_finished: bool = False


@dataclass(frozen=True)
class Config(Strict):
    """Everything that can differ between two runs."""

    dataset: DatasetConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    aug: AugmentationConfig
    trainer: TrainerConfig
    tracking: TrackingConfig
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    seed: Seed = 0
    name: str | None = None
    output: str | None = None
    print_config: bool = False


@dataclass(frozen=True)
class ParameterConfig(Strict):
    """The values of one override key in a search: a `choice`, or numbers from `min` to `max`.

    `log` samples numbers evenly in their logarithm, `whole` takes whole ones, `step` apart. With `when`, the key is
    only set where other keys of the space have one of the given values.
    """

    choice: list[Any] | None = None
    min: float | None = None
    max: float | None = None
    step: PositiveNumber | None = None
    log: bool = False
    whole: bool = False
    when: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.choice is None) == (self.min is None or self.max is None):
            raise ValueError("a parameter needs either a choice or both min and max")
        if self.min is not None and self.max is not None and not self.min < self.max:
            raise ValueError(f"min={self.min} must be below max={self.max}")
        if self.log and not (self.min or 0) > 0:
            raise ValueError("log needs a min above 0")


@dataclass(frozen=True)
class TunerConfig(Strict):
    """How a search goes and when it ends. `objective` is a validation metric: `val_*` of the epoch that is kept, or
    `validation/*` as judged.

    `max_failures` counts failed trials in a row. Models above `max_parameters` or `max_flops` (of one picture's forward
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
    seed: Annotated[int, Interval(ge=1, lt=2**31)] = 1
    factor: Annotated[int, Interval(ge=2, le=10)] = 3
    save_as: str | None = None

    def __post_init__(self) -> None:
        if "test" in self.objective:
            raise ValueError(f"objective={self.objective}: the test part is never searched on; use a validation metric")
        if not self.objective.startswith(("val_", "validation/")):
            raise ValueError(f"objective={self.objective}: accepts val_loss, val_accuracy, val_auc or validation/...")


@dataclass(frozen=True)
class TuneConfig(Config):
    """A search: `space` has the override keys to vary, all other values are those of every trial."""

    tuner: TunerConfig = field(default_factory=lambda: TunerConfig("random"))
    space: dict[str, ParameterConfig] = field(default_factory=dict)


@dataclass(frozen=True)
class CompareConfig(Strict):
    """Which recorded runs to compare, and by what. `filter` is MLflow's; `output` is a folder."""

    tracking: TrackingConfig
    filter: str = ""
    metric: Literal["accuracy", "balanced_accuracy", "log_loss", "brier"] = "accuracy"
    resamples: Annotated[int, Interval(ge=100, le=100_000)] = 2000
    output: str = "outputs/compare"
    log: bool = True
    print_config: bool = False


@dataclass(frozen=True)
class EvaluateConfig(Strict):
    """Which recorded model to judge, and on what: `dataset` null is the data that it was trained on.

    `leaks` says what happens to pictures of another data set that the model was fitted on. `output` keeps the record in
    a folder too.
    """

    tracking: TrackingConfig
    evaluation: EvaluationConfig
    run: str = "latest"
    dataset: DatasetConfig | None = None
    leaks: Literal["drop", "keep", "error"] = "drop"
    output: str | None = None
    print_config: bool = False


@dataclass(frozen=True)
class PrepareConfig(Strict):
    """Which data set to prepare and report on.

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
    """Which recorded model to export, to which folder and formats, and how far these may be from Keras.

    `tolerance` is the largest difference of the probability on any validation picture for the float formats,
    `int8_tolerance` the largest mean difference for int8.
    """

    tracking: TrackingConfig
    run: str = "latest"
    output: str = "outputs/bundle"
    formats: Annotated[list[Literal["keras", "litert", "int8", "onnx"]], Len(1, 4)] = field(
        default_factory=lambda: ["keras", "litert", "int8", "onnx"]
    )
    tolerance: PositiveNumber = 1e-4
    int8_tolerance: PositiveNumber = 0.02
    print_config: bool = False


def project_path(path: str) -> Path:
    """`path` with `~` expanded; a relative one counts from the project's root, whatever the working directory."""
    return PROJECT_ROOT / Path(path).expanduser()


def plain(config: object) -> dict[str, Any]:
    """A config as nested dictionaries and lists, ready for YAML or JSON."""
    return asdict(config)  # type: ignore[call-overload,no-any-return]


def to_config(tree: Mapping[str, Any], schema: type[ConfigType]) -> ConfigType:
    """Check a composed tree of plain values against `schema`.

    Raises ConfigError with one line for the first thing that does not fit.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(schema).validate_python(dict(tree))
    except ValidationError as error:
        raise ConfigError(_explain(error.errors()[0], schema)) from None


def _explain(problem: Mapping[str, Any], schema: type) -> str:
    location = [part for part in problem["loc"] if isinstance(part, int) or part.isidentifier()]
    key = ".".join(str(part) for part in location)
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return unknown_key(key, _known_keys(schema, location[:-1]))
    if problem["type"] in ("missing", "missing_argument"):
        return f"{key}: no value given"
    if problem["type"] == "value_error":
        return f"{key}: {problem['ctx']['error']}"
    got, annotation = problem["input"], _type_at(schema, location)
    choices = [str(choice) for choice in get_args(annotation)] if get_origin(annotation) is Literal else []
    shown = "null" if got is None else got
    return f"{key}={shown}: accepts {_accepts(annotation)}{suggest(str(got), choices)}"


def unknown_key(key: str, known: Iterable[str]) -> str:
    """One line for a key that does not exist, with close matches among `known` keys of the same level."""
    known = list(known)
    parent, _, last = key.rpartition(".")
    prefix = f"{parent}." if parent else ""
    hint = suggest(last, known, prefix)
    return f"{key}: no such key{hint or '; known here: ' + ', '.join(prefix + name for name in known)}"


def suggest(got: str, known: Iterable[str], prefix: str = "") -> str:
    """`; did you mean ...?` for the close matches of `got`, or an empty string."""
    close = difflib.get_close_matches(got, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(prefix + name for name in close)}?" if close else ""


def _type_at(schema: Any, location: Iterable[Any]) -> Any:
    """The annotation found by walking `location` down a tree of dataclasses and lists."""
    for part in location:
        if is_dataclass(schema):
            schema = get_type_hints(schema, include_extras=True).get(str(part))
        elif isinstance(part, int):
            item_types = get_args(_bare(schema))
            schema = item_types[0] if item_types else Any
    return schema


def _known_keys(schema: type, location: Iterable[Any]) -> list[str]:
    node = _type_at(schema, location)
    return [item.name for item in fields(node)] if is_dataclass(node) else []


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


_TYPE_NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "null"}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def _accepts(annotation: Any) -> str:
    """What an annotation accepts, in words: `an integer, at least 8 and at most 1024`."""
    if get_origin(annotation) is Literal:
        return ", ".join(str(choice) for choice in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_accepts(choice) for choice in get_args(annotation))
    if get_origin(annotation) is list:
        return f"a list; each item {_accepts(get_args(annotation)[0])}"
    if get_origin(annotation) is not Annotated:
        return _TYPE_NAMES.get(annotation, "a group of values")
    base, *constraints = get_args(annotation)
    if any(isinstance(constraint, Len) for constraint in constraints):
        length = next(constraint for constraint in constraints if isinstance(constraint, Len))
        return f"a list of {length.min_length} to {length.max_length} items; each {_accepts(get_args(base)[0])}"
    limits = [
        f"{words} {getattr(constraint, bound)}"
        for constraint in constraints
        for bound, words in _BOUNDS.items()
        if getattr(constraint, bound, None) is not None
    ]
    return f"{_accepts(base)}, {' and '.join(limits)}" if limits else _accepts(base)
