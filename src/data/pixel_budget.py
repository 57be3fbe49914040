"""A bound on what is decoded at once: files of a few kB can hold images that take gigabytes."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class PixelBudget:
    """Megapixels in flight, of the threads of this process or, after `share_with`, of several processes.

    Whoever is past it waits, in the order of coming.
    """

    def __init__(self, megapixels: int) -> None:
        self._size = megapixels
        self._turn: Any = threading.Lock()
        self._free: Any = threading.Semaphore(megapixels)

    def shared(self, context: Any) -> tuple[Any, Any]:
        """What processes that `context` (of `multiprocessing`) starts are to be given for their `share_with`."""
        return context.Lock(), context.Semaphore(self._size)

    def share_with(self, others: tuple[Any, Any]) -> None:
        """Count with other processes from now on; nothing may be held."""
        self._turn, self._free = others

    @contextmanager
    def hold(self, megapixels: float) -> Iterator[None]:
        """Take a share, waiting for it; one that is larger than the whole budget is given alone. Not to be nested."""
        units = min(self._size, math.ceil(megapixels))
        with self._turn:  # one at a time, else two that wait for the rest of their share could wait for each other
            for _ in range(units):
                self._free.acquire()
        try:
            yield
        finally:
            for _ in range(units):
                self._free.release()


DECODING = PixelBudget(32)
"""Shared by service, page, prediction and preparation; a decoder takes up to 30 bytes for each pixel of a WebP."""
