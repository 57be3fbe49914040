"""Log-odds of probabilities and back. NumPy alone, because every prediction needs it and none should wait for SciPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_PROBABILITY = 1e-7


def log_odds(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Log-odds of probabilities of any shape, which are kept 1e-7 away from 0 and 1 so that all stay finite."""
    clipped = np.clip(np.asarray(probabilities, dtype=np.float64), MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def sigmoid(values: ArrayLike) -> NDArray[np.float64]:
    """The probabilities of log-odds `values` of any shape."""
    with np.errstate(over="ignore"):  # exp(1000) is inf, and the probability 0, as it should be
        return np.asarray(1 / (1 + np.exp(-np.asarray(values, dtype=np.float64))))


def apply_temperature(probabilities: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Probabilities with their log-odds divided by `temperature` (above 1: less sure of everything)."""
    return sigmoid(log_odds(probabilities) / temperature)
