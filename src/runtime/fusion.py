"""One calibrated probability for an image, from the faces in it and from the whole of it. NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from ..metrics.log_odds import sigmoid

Joining = Literal["largest", "mean"]
_Number = Annotated[float, Strict()]
_Probability = Annotated[_Number, Field(ge=0, le=1)]


@plain_dataclass(frozen=True, slots=True)
class Evidence:
    """What the models say of one image, in log-odds of class 1: `faces` (n,) of the faces, whose sides in pixels are
    `sides` (n,), and `scene` of the whole image.
    """

    faces: NDArray[np.float64]
    sides: NDArray[np.float64]
    scene: float


@dataclass(frozen=True, kw_only=True, config=ConfigDict(allow_inf_nan=False))
class Fusion:
    """A logistic model on log-odds for images in which a face is found, and one for those in which none is.

    `with_faces` is intercept, weight of the joined faces and weight of the scene; `without_faces` intercept and weight
    of the scene. `joining` says how several faces become one number. `threshold` and `abstain` (low, high) count on the
    fused probability.
    """

    joining: Joining
    with_faces: tuple[_Number, _Number, _Number]
    without_faces: tuple[_Number, _Number]
    threshold: _Probability = 0.5
    abstain: tuple[_Probability, _Probability] | None = None

    def probability(self, evidence: Evidence) -> float:
        """The fused P(class 1)."""
        if evidence.faces.size == 0:
            intercept, scene = self.without_faces
            return float(sigmoid(intercept + scene * evidence.scene))
        intercept, face, scene = self.with_faces
        joined = join_faces(evidence.faces, evidence.sides, self.joining)
        return float(sigmoid(intercept + face * joined + scene * evidence.scene))


def join_faces(log_odds: ArrayLike, sides: ArrayLike, joining: Joining) -> float:
    """One number for several faces: the log-odds of the largest, or the mean of all weighted by their areas."""
    values, widths = np.asarray(log_odds, dtype=np.float64), np.asarray(sides, dtype=np.float64)
    if joining == "largest":
        return float(values[np.argmax(widths)])
    return float(np.average(values, weights=widths**2))


def describe_faces(count: int) -> str:
    """What an answer rests on, where faces were looked for."""
    if count == 0:
        return "whole image, no face found"
    return f"{count} face" + "s" * (count > 1)
