"""Search for evaluated images that were seen in training: as the same file, or as a near-duplicate.

A model that starts from another, or learns from teachers, has seen what these have: it inherits their fingerprints.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import DatasetConfig
from ..data.duplicates import FEATURES, compact, connected_groups, features_of, lookalike_pairs
from ..data.prepared import split_digest

if TYPE_CHECKING:
    from ..data.prepared import PreparedDataset

FINGERPRINTS = "fitted_on.parquet"
FITTED_ON = ("train", "validation")
LEAKED = "leaked"
HASHES = ["sha256", "phash", "dhash"]
FINGERPRINT_COLUMNS = (*HASHES, *FEATURES, "split", "inherited")


def fitted_on(dataset: PreparedDataset, inherited: pd.DataFrame | None = None) -> pd.DataFrame:
    """Fingerprints to keep with a model, of the images that its weights, threshold and temperature come from, with
    `split` and whether they are `inherited` from the models that it comes from (None: from none).
    """
    rows = np.concatenate([dataset.rows(split) for split in FITTED_ON])
    own = fingerprints(dataset, rows).assign(split=dataset.table["split"].to_numpy()[rows], inherited=False)
    if dataset.auxiliary is not None:
        neither = dataset.auxiliary.trained[HASHES].reset_index(drop=True)
        own = pd.concat([own, neither.assign(split="train", inherited=False)], ignore_index=True)
        own = own.assign(**features_of(own))  # crops of these are not looked for
    if inherited is None:
        return compact(own)
    both = pd.concat([own, inherited.assign(inherited=True)], ignore_index=True)
    return compact(both.assign(**features_of(both)))  # those of models recorded before there were any are empty


def fingerprints(dataset: PreparedDataset, rows: NDArray[np.integer]) -> pd.DataFrame:
    """SHA-256, pHash, dHash and features of rows."""
    features = dataset.features.iloc[rows].reset_index(drop=True)
    return dataset.table.iloc[rows][HASHES].reset_index(drop=True).join(features)


def leaked(seen: pd.DataFrame, evaluated: pd.DataFrame, config: DatasetConfig) -> NDArray[np.bool_]:
    """Find the `evaluated` fingerprints that are among those `seen`, or copies of one as `config` defines them.

    Crops of what was seen are found if its fingerprints have features, which those of earlier models lack. An image
    joined to a seen one through others counts too. With no distance set only the same file does.
    """
    same = evaluated["sha256"].isin(seen["sha256"]).to_numpy()
    if config.near_duplicate_distance is None:
        return same
    both = pd.concat([seen, evaluated], ignore_index=True)
    groups = connected_groups(len(both), lookalike_pairs(both, config))
    return same | np.isin(groups[len(seen) :], groups[: len(seen)])


def own_and_inherited(seen: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take apart again what `fitted_on` has kept; models recorded without that column inherited nothing."""
    inherited = seen.get("inherited", pd.Series(False, seen.index)).to_numpy(dtype=bool)
    return seen[~inherited], seen[inherited]


def as_evaluated(dataset: PreparedDataset, seen: pd.DataFrame, config: DatasetConfig) -> PreparedDataset:
    """A model's own `dataset` with the splits on which it was evaluated; `seen` is what `fitted_on` has kept of it."""
    inherited = own_and_inherited(seen)[1]
    return without_inherited(dataset, inherited, config) if len(inherited) else dataset


def without_inherited(dataset: PreparedDataset, inherited: pd.DataFrame, config: DatasetConfig) -> PreparedDataset:
    """`dataset` without the images of validation on which an earlier model was trained, and without those of test on
    which it was trained or validated; copies of them included. Their split is then `leaked`.
    """
    splits = dataset.table["split"].to_numpy(dtype=object).copy()
    for split, seen in (("validation", inherited[inherited["split"] == "train"]), ("test", inherited)):
        rows = dataset.rows(split)
        splits[rows[leaked(seen, fingerprints(dataset, rows), config)]] = LEAKED
    table = dataset.table.assign(split=splits)
    digests = {split: split_digest(table[table["split"] == split]) for split in dataset.split_digests}
    return replace(dataset, table=table, split_digests=digests)
