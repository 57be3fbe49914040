"""Architectures by name: what `model.architecture` may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..config import ModelConfig, suggest
from ..errors import ConfigError

Features = Callable[[Any, ModelConfig], Any]
"""From pixels in 0..1, (batch, size, size, channels), to features, (batch, n), as a Keras graph."""

_ARCHITECTURES: dict[str, Features] = {}


def architecture(name: str) -> Callable[[Features], Features]:
    """Register the function below as the architecture `name`. Raises ValueError where there is one of that name."""

    def register(features: Features) -> Features:
        if name in _ARCHITECTURES:
            raise ValueError(f"there is an architecture {name} already")
        _ARCHITECTURES[name] = features
        return features

    return register


def find_architecture(name: str) -> Features:
    """The architecture registered as `name`. Raises ConfigError."""
    if name not in _ARCHITECTURES:
        known = sorted(_ARCHITECTURES)
        raise ConfigError(f"model.architecture={name}: accepts {', '.join(known)}{suggest(name, known)}")
    return _ARCHITECTURES[name]
