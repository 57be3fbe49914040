"""Slices in which a model fails: accuracy by every column of the sample table, worse only if an interval says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from scipy.special import ndtri
from scipy.stats import hypergeom

from .intervals import effective_trials, group_codes, proportion
from .pointing import region_columns

NOT_SLICED = {
    "index",
    "row",
    "path",
    "label",
    "group",
    "split",
    "sha256",
    "phash",
    "dhash",
    "verdict",
    "weight",
    "target",
    "subject",
}
MAX_VALUES = 12
NUMERIC_BINS = 4
REPEATED = 0.999  # a correlation from which on two columns say the same

VERDICT_WORSE, VERDICT_NONE, VERDICT_SMALL = "worse", "", "too small"


def slice_table(table: pd.DataFrame, hits: NDArray[np.bool_], groups: NDArray, smallest: int = 30) -> pd.DataFrame:
    """Accuracy of every slice against that of all other images, worst first.

    `table` (n rows) gives the columns to slice by, `hits` (n,) which images were right. The result has one
    row per slice: column, value, count, accuracy with its 95 % interval (low, high), `difference` to the rest with its
    corrected interval, and a verdict. A slice of at least `smallest` images is `worse` where the whole interval of
    the difference lies below 0 and Fisher's exact test finds more mistakes than in the rest, each at a one-sided level
    of 0.025 divided by the number of slices tested (Bonferroni). The interval alone accuses a small slice against a
    large rest up to 5 times too often. Columns that repeat another, such as red in gray images, are left out.
    """
    names = [str(name) for name in table.columns]
    excluded = NOT_SLICED | region_columns(names)
    columns = distinct_columns(table, [name for name in names if name not in excluded])
    members = [(column, value, rows) for column in columns for value, rows in _values(table[column])]
    members = [(column, value, rows) for column, value, rows in members if 0 < rows.sum() < rows.size]
    tested = sum(1 for _, _, rows in members if _large_enough(rows, smallest))
    level = 0.025 / max(tested, 1)
    found = [
        {"column": column, "value": value} | _compare(hits, groups, rows, level, _large_enough(rows, smallest))
        for column, value, rows in members
    ]
    return _worst_first(pd.DataFrame(found, columns=_SLICE_COLUMNS))


_SLICE_COLUMNS = [
    "column",
    "value",
    "count",
    "accuracy",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "verdict",
]


def distinct_columns(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """`names` without the columns of one value, and without those of numbers that follow from an earlier one's."""
    kept: list[str] = []
    numbers: list[NDArray[np.float64]] = []
    for name in names:
        column = table[name]
        if column.dropna().nunique() < 2:
            continue
        if is_numeric_dtype(column) and not is_bool_dtype(column) and not column.isna().any():
            values = column.to_numpy(np.float64)
            values = (values - values.mean()) / values.std()
            if any(abs((values * earlier).mean()) > REPEATED for earlier in numbers):
                continue
            numbers.append(values)
        kept.append(name)
    return kept


def _values(column: pd.Series) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each value with its rows; numbers of many values are cut at their quartiles, texts of many give none."""
    known = column.dropna()
    if is_numeric_dtype(column) and not is_bool_dtype(column) and known.nunique() > MAX_VALUES // 2:
        column = pd.qcut(column, NUMERIC_BINS, duplicates="drop", precision=3)
    elif known.nunique() > MAX_VALUES:
        return
    for value in sorted(column.dropna().unique()):
        name = f"{value.left:.4g} to {value.right:.4g}" if isinstance(value, pd.Interval) else str(value)
        yield name, (column == value).to_numpy(dtype=bool)


def _large_enough(rows: NDArray[np.bool_], smallest: int) -> bool:
    return min(int(rows.sum()), int((~rows).sum())) >= smallest


def _compare(
    hits: NDArray[np.bool_], groups: NDArray, rows: NDArray[np.bool_], level: float, large: bool
) -> dict[str, object]:
    """One slice against the rest; the difference's interval joins two of Wilson's (Newcombe 1998, method 10)."""
    quantile = float(-ndtri(level))
    shown = proportion(hits[rows], groups[rows])
    inside, outside = proportion(hits[rows], groups[rows], quantile), proportion(hits[~rows], groups[~rows], quantile)
    difference = inside.value - outside.value
    low = difference - np.hypot(inside.value - inside.low, outside.high - outside.value)
    high = difference + np.hypot(inside.high - inside.value, outside.value - outside.low)
    worse = high < 0 and more_mistakes(hits, groups, rows) <= level
    verdict = VERDICT_SMALL if not large else VERDICT_WORSE if worse else VERDICT_NONE
    numbers = [int(rows.sum()), shown.value, shown.low, shown.high, difference, low, high, verdict]
    return dict(zip(_SLICE_COLUMNS[2:], numbers, strict=True))


def more_mistakes(hits: NDArray[np.bool_], groups: NDArray, rows: NDArray[np.bool_]) -> float:
    """One-sided p-value of more mistakes among `rows` (n,) than in the rest (Fisher's exact test, 1935).

    Images in groups count as their effective trials, rounded towards no difference.
    """
    counts = []
    for side, rounded in ((rows, np.floor), (~rows, np.ceil)):
        trials = effective_trials(hits[side].astype(np.float64), group_codes(groups[side], int(side.sum())))
        counts.append((int(rounded(round((1 - hits[side].mean()) * trials, 6))), round(trials)))
    (inside, trials), (outside, others) = counts
    outside = min(outside, others)
    return float(hypergeom.sf(inside - 1, trials + others, inside + outside, trials))


def _worst_first(slices: pd.DataFrame) -> pd.DataFrame:
    """Slices found worse, then the other tested ones, then small ones; each by what the interval leaves certain."""
    rank = slices["verdict"].map({VERDICT_WORSE: 0, VERDICT_NONE: 1, VERDICT_SMALL: 2})
    ordered = slices.assign(rank=rank).sort_values(["rank", "difference_high"], kind="stable")
    return ordered.drop(columns="rank").reset_index(drop=True)
