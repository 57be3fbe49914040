"""Long columns of text, never all as Python objects at once, and the memory that tables leave behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pandas as pd
import pyarrow as pa

BLOCK = 4096
"""Values that are objects at once."""


def values_of(column: pd.Series) -> Iterator[str]:
    """The values of `column` in turn."""
    for start in range(0, len(column), BLOCK):
        yield from column.iloc[start : start + BLOCK].tolist()


@contextlib.contextmanager
def memory_given_back() -> Iterator[None]:
    """Until the block ends, Arrow takes memory from the system's allocator: its own keeps nearly as much again as
    tables take.
    """
    pool = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(pool)
