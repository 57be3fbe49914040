"""Whether an exported format says what the Keras model says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.errors import BundleError
from src.evaluation.scores import Score, proportion
from src.inference.bundle import Bundle
from src.inference.measure import Cost


@dataclass(frozen=True)
class Parity:
    """One format against Keras on the same pictures: differences of the calibrated probability, decisions that
    changed, accuracy with its 95 % interval; `size` in bytes. `cost` is None for Keras itself.
    """

    model_format: str
    size: int
    largest: float
    mean: float
    changed: int
    pictures: int
    accuracy: Score
    cost: Cost | None

    def check(self, tolerance: float, int8_tolerance: float) -> None:
        """Raise BundleError for a float format that differs by more than `tolerance` on any picture, or for int8 where
        it differs by more than `int8_tolerance` on the mean picture.
        """
        found, limit, which = self.largest, tolerance, "largest"
        if self.model_format == "int8":
            found, limit, which = self.mean, int8_tolerance, "mean"
        if not found <= limit:
            raise BundleError(
                f"format {self.model_format}: the {which} difference to Keras is {found:.2g} on {self.pictures} "
                f"validation pictures, past its tolerance of {limit:g}"
            )


def compare_outputs(
    bundle: Bundle,
    model_format: str,
    reference: NDArray[np.floating],
    found: NDArray[np.floating],
    labels: NDArray[np.floating],
    cost: Cost | None,
) -> Parity:
    """Compare a format's own probabilities `found` (n,) with Keras's `reference` (n,) as `bundle` decides on them."""
    expected, got = bundle.calibrated(reference), bundle.calibrated(found)
    called = got >= bundle.threshold
    difference = np.abs(got - expected)
    right = called == labels.astype(bool)
    return Parity(
        model_format=model_format,
        size=bundle.model_file(model_format).stat().st_size,
        largest=float(difference.max()),
        mean=float(difference.mean()),
        changed=int((called != (expected >= bundle.threshold)).sum()),
        pictures=len(labels),
        accuracy=proportion(right),
        cost=cost,
    )
