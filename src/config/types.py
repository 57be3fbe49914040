"""The bounded types that config dataclasses are written in."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Interval, Lt

Count = Annotated[int, Ge(1)]
WholeNumber = Annotated[int, Ge(0)]
PositiveNumber = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Rate = Annotated[float, Ge(0), Lt(1)]
Seed = Annotated[int, Interval(ge=0, lt=2**32)]


class Strict:
    """Base of every config dataclass: unknown keys are errors."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}
