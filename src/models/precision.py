"""Building in full precision, whatever the run computes in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def float32() -> Iterator[None]:
    """Layers made inside this context compute in float32; the global dtype policy is given back afterwards."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
