"""What is decoded at once is bounded."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from src.data.pixel_budget import PixelBudget


def test_no_more_than_the_budget_is_held_and_nothing_starves() -> None:
    budget, lock = PixelBudget(10), threading.Lock()
    held, most = [], []

    def decode(megapixels: float) -> float:
        with budget.hold(megapixels):
            with lock:
                held.append(megapixels)
                most.append(sum(held))
                alone = len(held) == 1
            assert alone or megapixels <= 10
            time.sleep(0.002)
            with lock:
                held.remove(megapixels)
        return megapixels

    sizes = [1, 4, 7, 25, 10] * 12
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(decode, sizes)) == sizes
    assert max(total for total in most if total != 25) <= 10
    assert 25 in most


def test_a_decoder_that_fails_gives_its_share_back() -> None:
    budget = PixelBudget(1)
    for _ in range(3):
        try:
            with budget.hold(1):
                raise ValueError
        except ValueError:
            pass
    with budget.hold(1):
        pass
