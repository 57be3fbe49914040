"""What is decoded at once is bounded."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from src.data.images import PixelBudget


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


def _held_together(budget: PixelBudget, log: Path) -> None:
    for _ in range(20):
        with budget.hold(6), log.open("a") as file:
            file.write("+")
            file.flush()
            time.sleep(0.001)
            file.write("-")


def _in_a_process(shares: tuple[object, object], log: Path) -> None:
    budget = PixelBudget(10)
    budget.share_with(shares)
    _held_together(budget, log)


def test_processes_that_prepare_share_one_budget(tmp_path: Path) -> None:
    context, log = multiprocessing.get_context("fork"), tmp_path / "log"
    shares = PixelBudget(10).shared(context)
    processes = [context.Process(target=_in_a_process, args=(shares, log)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert log.read_text() == "+-" * 40


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
