"""Group a million hashes of which a tenth are changed copies: `python -m benchmarks.group_hashes [COUNT]`.

Three kinds of hashes: of images that have nothing in common, of images that resemble each other (as aligned faces
do: their bits are far from evenly spread), and with a thousand blank images among them. Prints time, peak memory and
how many of the changed copies were found.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from src.data.duplicates import connected_groups, near_duplicate_pairs

DISTANCE, DHASH_DISTANCE = 6, 10
Hashes = NDArray[np.uint64]


def main(count: int = 1_000_000) -> None:
    """Print one row for each kind of hashes."""
    table = Table("hashes", "seconds", "peak GB", "copies found", "groups", title=f"{count:,} hashes of 64 bits")
    for name, make in KINDS.items():
        seconds, peak, found, groups = group(make, count)
        table.add_row(name, f"{seconds:.1f}", f"{peak:.2f}", f"{found:.2%}", f"{groups:,}")
    Console().print(table)


def group(make: Callable[[int, np.random.Generator], Hashes], count: int) -> tuple[float, float, float, int]:
    """Seconds, peak memory of this process in GB, the share of copies that were found, and the number of groups."""
    random = np.random.default_rng(0)
    phash, dhash = make(count, random), make(count, random)
    copied, copies = _change_copies(phash, dhash, random)
    started = time.perf_counter()
    groups = connected_groups(count, near_duplicate_pairs(phash, dhash, DISTANCE, DHASH_DISTANCE))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return seconds, peak, float((groups[copied] == groups[copies]).mean()), int(groups.max()) + 1


def _unrelated(count: int, random: np.random.Generator) -> Hashes:
    return random.integers(0, 2**64, count, dtype=np.uint64)


def _alike(count: int, random: np.random.Generator) -> Hashes:
    """Each bit is one with its own probability, from rare to usual."""
    hashes = np.zeros(count, dtype=np.uint64)
    for bit, probability in enumerate(random.beta(2.0, 2.0, size=64)):
        hashes |= (random.random(count) < probability).astype(np.uint64) << np.uint64(bit)
    return hashes


def _with_blanks(count: int, random: np.random.Generator) -> Hashes:
    hashes = _unrelated(count, random)
    hashes[: min(1000, count // 10)] = 0
    return hashes


KINDS: dict[str, Callable[[int, np.random.Generator], Hashes]] = {
    "unrelated": _unrelated,
    "alike": _alike,
    "with blanks": _with_blanks,
}


def _change_copies(phash: Hashes, dhash: Hashes, random: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Make a tenth of the rows copies of others, with up to as many bits flipped as count as a near-duplicate."""
    count = len(phash)
    copied = random.integers(0, count // 2, count // 10)
    copies = count // 2 + np.arange(len(copied))
    for hashes, bits in ((phash, DISTANCE), (dhash, DHASH_DISTANCE)):
        hashes[copies] = hashes[copied]
        for _ in range(bits):
            hashes[copies] ^= np.uint64(1) << random.integers(0, 64, len(copies), dtype=np.uint64)
    return copied, copies


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
