import numpy as np
import pandas as pd

from src.config import DatasetConfig
from src.evaluation.leaks import leaked

CONFIG = DatasetConfig(name="d", source="folder", near_duplicate_distance=6, dhash_distance=10)
SEEN_PHASH, SEEN_DHASH = 0x0F0F_3C3C_5A5A_9999, 0x1234_5678_9ABC_DEF0


def hashed(sha256: list[str], phash: list[int], dhash: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"sha256": sha256, "phash": np.array(phash, np.uint64), "dhash": np.array(dhash, np.uint64)})


def evaluated() -> pd.DataFrame:
    """The same file, a near-duplicate, a near-duplicate of that one alone, and a stranger."""
    near, further = SEEN_PHASH ^ 0b11111, SEEN_PHASH ^ 0b1111111111
    return hashed(["a", "b", "c", "d"], [SEEN_PHASH, near, further, ~SEEN_PHASH & (2**64 - 1)], [SEEN_DHASH] * 4)


def test_the_same_file_and_chains_of_near_duplicates_of_what_was_seen_are_found() -> None:
    seen = hashed(["a"], [SEEN_PHASH], [SEEN_DHASH])
    assert leaked(seen, evaluated(), CONFIG).tolist() == [True, True, True, False]


def test_without_a_distance_only_the_same_file_counts() -> None:
    config = DatasetConfig(name="d", source="folder", near_duplicate_distance=None)
    assert leaked(hashed(["a"], [SEEN_PHASH], [SEEN_DHASH]), evaluated(), config).tolist() == [
        True,
        False,
        False,
        False,
    ]


def test_evaluated_pictures_that_resemble_only_each_other_are_no_leak() -> None:
    seen = hashed(["x"], [~SEEN_PHASH & (2**64 - 1)], [SEEN_DHASH])
    assert leaked(seen, evaluated()[:3], CONFIG).tolist() == [False] * 3
