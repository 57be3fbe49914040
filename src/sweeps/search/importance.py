"""Which value mattered: how much worse a model of the scores becomes when one value is shuffled."""

from __future__ import annotations

import numpy as np
import pandas as pd

TREES = 200
REPEATS = 20
FEWEST_TRIALS = 6


def importances(values: pd.DataFrame, scores: pd.Series) -> pd.Series:
    """Permutation importance (Breiman, 2001) of each column of `values` for `scores`, as shares that add up to 1.

    A random forest is fitted to the completed trials; a share says how much of its explained variance goes with the
    column. Empty for fewer than six trials or scores that are all equal. Shares of few trials are rough.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    if len(scores) < FEWEST_TRIALS or scores.nunique() < 2:
        return pd.Series(dtype=float)
    codes = values.apply(_as_numbers)
    forest = RandomForestRegressor(TREES, random_state=0).fit(codes, scores)
    found = permutation_importance(forest, codes, scores, n_repeats=REPEATS, random_state=0)
    raw = pd.Series(np.maximum(found["importances_mean"], 0), index=values.columns)
    total = raw.sum()
    return (raw / total if total else raw).sort_values(ascending=False)


def _as_numbers(column: pd.Series) -> pd.Series:
    """Numbers as they are, other values by their order of appearance, empty as -1."""
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float).fillna(-1.0)
    return pd.Series(pd.factorize(column)[0].astype(float), index=column.index)
