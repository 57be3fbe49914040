from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from src.config import DatasetConfig
from src.data.crops import features
from src.data.duplicates import compact
from src.evaluation.leaks import leaked
from tests.image_files import scene

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


def test_evaluated_images_that_resemble_only_each_other_are_no_leak() -> None:
    seen = hashed(["x"], [~SEEN_PHASH & (2**64 - 1)], [SEEN_DHASH])
    assert leaked(seen, evaluated()[:3], CONFIG).tolist() == [False] * 3


def with_features(rows: pd.DataFrame, images: list[Image.Image]) -> pd.DataFrame:
    described = [
        features(np.asarray(image.resize((256, 256), Image.Resampling.BILINEAR)), image.width, image.height)
        for image in images
    ]
    return rows.join(pd.DataFrame(described))


def crops_and_a_stranger() -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was seen, and a crop of it, its mirror image and a stranger; no hash resembles another."""
    pytest.importorskip("cv2")
    hashes = np.random.default_rng(0).integers(0, 2**63, 4).tolist()
    seen = with_features(hashed(["a"], hashes[:1], hashes[:1]), [scene(0)])
    changed = [scene(0).crop((80, 60, 420, 320)), ImageOps.mirror(scene(0)), scene(1)]
    return seen, with_features(hashed(["b", "c", "d"], hashes[1:], hashes[1:]), changed)


def test_crops_and_mirror_images_of_what_was_seen_are_found() -> None:
    seen, changed = crops_and_a_stranger()
    assert leaked(seen, changed, CONFIG).tolist() == [True, True, False]
    assert leaked(compact(seen), changed, CONFIG).tolist() == [True, True, False]
    assert leaked(seen, changed, replace(CONFIG, crop_duplicates=False)).tolist() == [False] * 3


def test_fingerprints_of_earlier_models_are_compared_by_their_hashes() -> None:
    seen, changed = crops_and_a_stranger()
    earlier = seen[["sha256", "phash", "dhash"]]
    assert leaked(earlier, changed, CONFIG).tolist() == [False] * 3
    assert leaked(earlier, changed.assign(phash=earlier["phash"][0], dhash=earlier["dhash"][0]), CONFIG).all()


def test_what_a_model_keeps_of_many_images_stays_small() -> None:
    seen, _ = crops_and_a_stranger()
    for count, limit in ((100, 2_000), (20_000, 800)):
        kept = compact(pd.concat([seen] * count, ignore_index=True))
        assert kept["keypoints"].str.len().mean() <= limit
