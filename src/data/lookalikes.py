"""Which images are copies of one photo: the one rule by which data is grouped and conflicts and leaks are found."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pandas as pd

from ..config import DatasetConfig
from .crops import crop_pairs
from .local_features import BYTES_PER_KEYPOINT, KEYPOINTS, strongest
from .near_duplicates import Pairs, near_duplicate_pairs
from .small_images import small_pairs

FEATURES = ("keypoints", "thumbnail")
"""Columns of bytes, as `local_features.features` gives them, that find crops; missing or empty where unknown."""

_MAX_BYTES = 16_000_000
_MIN_KEYPOINTS, _MAX_KEYPOINTS = 32, 96


def finds_crops(config: DatasetConfig) -> bool:
    """Whether crops and mirror images are looked for: the config asks for it and OpenCV is installed."""
    return asks_for_crops(config) and find_spec("cv2") is not None


def asks_for_crops(config: DatasetConfig) -> bool:
    """Whether the config wants crops and mirror images to be found."""
    return config.crop_duplicates and config.near_duplicate_distance is not None


def lookalike_pairs(fingerprints: pd.DataFrame, config: DatasetConfig) -> Pairs:
    """Pairs of rows that show one photo by the rules of `config`, none where it sets no distance.

    `fingerprints` has phash, dhash and, if crops are to be found, `FEATURES`.
    """
    if config.near_duplicate_distance is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    phash, dhash = (fingerprints[name].to_numpy(dtype=np.uint64) for name in ("phash", "dhash"))
    pairs = [near_duplicate_pairs(phash, dhash, config.near_duplicate_distance, config.dhash_distance)]
    if config.crop_duplicates:
        features = features_of(fingerprints)
        pairs += [crop_pairs(features["keypoints"].tolist()), small_pairs(features["thumbnail"].tolist())]
    return np.concatenate([left for left, _ in pairs]), np.concatenate([right for _, right in pairs])


def features_of(table: pd.DataFrame) -> pd.DataFrame:
    """The features of a table's rows; empty where it has none."""
    known = table.reindex(columns=list(FEATURES)).reset_index(drop=True)
    return known.map(lambda data: data if isinstance(data, bytes) else b"").astype(object)


def compact(features: pd.DataFrame) -> pd.DataFrame:
    """Features to keep with a model: 1.8 kB an image, and from 9,000 images on fewer keypoints, down to 0.6 kB.

    Of 513 pairs of crops, 504 are found again when one image of each has 96 of its 128 keypoints, 475 with 64, 428
    with 32.
    """
    affordable = _MAX_BYTES // (BYTES_PER_KEYPOINT * max(1, len(features)))
    count = min(KEYPOINTS, max(_MIN_KEYPOINTS, min(_MAX_KEYPOINTS, affordable)))
    return features.assign(keypoints=[strongest(data, count) for data in features["keypoints"]])
