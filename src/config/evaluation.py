"""How a model is judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Gt, Interval, Le, Len

from src.config.types import Count, Fraction, PositiveNumber, Seed, Strict, WholeNumber


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
