"""The shortcut baseline: how well the classes can be told apart without looking at any face.

A linear model is given a few statistics of each picture, or of its file, and judged by cross-validation over whole
groups. If it scores well, so will any network, and for the same wrong reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PIXEL_STATISTICS = ("brightness", "contrast", "saturation", "sharpness", "red", "green", "blue")
FOLDS = 5
_FEWEST_GROUPS = 20
_MOST_PICTURES = 20_000


@dataclass(frozen=True)
class Shortcut:
    """Cross-validated accuracy of a linear model on `features`, beside that of always naming the larger class."""

    features: str
    accuracy: float
    low: float
    high: float
    majority: float

    @property
    def suspicious(self) -> bool:
        """Whether the model is surely, and by more than five points, better than naming the larger class."""
        return self.low > self.majority and self.accuracy > self.majority + 0.05


def shortcut_baselines(table: pd.DataFrame) -> list[Shortcut]:
    """Baselines from the pixels' statistics alone and from the files' properties alone; none for a tiny data set."""
    rows = table[table["split"] != "unused"]
    if len(rows) > _MOST_PICTURES:
        rows = rows.sample(_MOST_PICTURES, random_state=0)
    if rows.groupby("label")["group"].nunique().min() < _FEWEST_GROUPS:
        return []
    found = [_baseline("light and colour", rows[list(PIXEL_STATISTICS)].to_numpy(dtype=np.float64), rows)]
    files = _file_properties(rows)
    if files.shape[1]:
        found.append(_baseline("size and format of the file", files, rows))
    return found


def _file_properties(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Logarithms of width, height and bytes, and the format: those that differ at all."""
    sizes = rows[["width", "height", "bytes"]].astype(float).apply(np.log1p)
    formats = pd.get_dummies(rows[["format", "mode"]], dtype=float)
    columns = sizes.join(formats)
    return columns.loc[:, columns.nunique() > 1].to_numpy(dtype=np.float64)


def _baseline(features: str, values: NDArray[np.float64], rows: pd.DataFrame) -> Shortcut:
    from scipy.stats import binomtest
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = rows["label"].to_numpy()
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    called = cross_val_predict(model, values, labels, groups=rows["group"].to_numpy(), cv=folds)
    hits = int((called == labels).sum())
    low, high = binomtest(hits, len(labels)).proportion_ci(method="wilson")
    return Shortcut(features, hits / len(labels), float(low), float(high), float(max(labels.mean(), 1 - labels.mean())))
