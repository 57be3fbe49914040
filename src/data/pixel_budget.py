"""A bound on what is decoded at once: files of a few kB can hold pictures that take gigabytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """Megapixels in flight in this process; threads past it wait for others. May be used from any thread."""

    def __init__(self, megapixels: float) -> None:
        self._budget = megapixels
        self._held: list[float] = []
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, megapixels: float) -> Iterator[None]:
        """Take a share, waiting for it; one that is larger than the whole budget is given alone. Not to be nested."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or sum(self._held) + megapixels <= self._budget)
            self._held.append(megapixels)
        try:
            yield
        finally:
            with self._changed:
                self._held.remove(megapixels)
                self._changed.notify_all()


DECODING = PixelBudget(32.0)
"""Shared by service, page, prediction and preparation; a decoder takes up to 30 bytes for each pixel of a WebP."""
