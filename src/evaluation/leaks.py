"""Whether pictures to be evaluated were seen in training: as the same file, or as a near-duplicate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import DatasetConfig
from ..data.lookalikes import compact, lookalike_pairs
from ..data.near_duplicates import connected_groups, perceptual_hashes

if TYPE_CHECKING:
    from ..data.prepared import PreparedDataset

FINGERPRINTS = "fitted_on.parquet"
FITTED_ON = ("train", "validation")
PICTURES_AT_ONCE = 512


def fitted_on(dataset: PreparedDataset) -> pd.DataFrame:
    """Fingerprints to keep with a model, of the pictures that its weights, threshold and temperature come from."""
    return compact(fingerprints(dataset, np.concatenate([dataset.rows(split) for split in FITTED_ON])))


def fingerprints(dataset: PreparedDataset, rows: NDArray[np.integer]) -> pd.DataFrame:
    """SHA-256, pHash, dHash and features of rows; hashes from the table or else from the prepared pictures."""
    table, features = dataset.table.iloc[rows], dataset.features.iloc[rows].reset_index(drop=True)
    if {"phash", "dhash"} <= set(table.columns):
        return table[["sha256", "phash", "dhash"]].reset_index(drop=True).join(features)
    chunks = np.array_split(rows, max(1, len(rows) // PICTURES_AT_ONCE))
    hashes = [perceptual_hashes(list(dataset.images[chunk])) for chunk in chunks if len(chunk)]
    phash, dhash = (np.concatenate(values) for values in zip(*hashes, strict=True))
    return pd.DataFrame({"sha256": table["sha256"].to_numpy(), "phash": phash, "dhash": dhash}).join(features)


def leaked(seen: pd.DataFrame, evaluated: pd.DataFrame, config: DatasetConfig) -> NDArray[np.bool_]:
    """Which of the `evaluated` fingerprints are among those `seen`, or copies of one as `config` defines them.

    Crops of what was seen are found if its fingerprints have features, which those of earlier models lack. A picture
    joined to a seen one through others counts too. With no distance set only the same file does.
    """
    same = evaluated["sha256"].isin(seen["sha256"]).to_numpy()
    if config.near_duplicate_distance is None:
        return same
    both = pd.concat([seen, evaluated], ignore_index=True)
    groups = connected_groups(len(both), lookalike_pairs(both, config))
    return same | np.isin(groups[len(seen) :], groups[: len(seen)])
