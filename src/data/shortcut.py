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

    @property
    def sentence(self) -> str:
        """The finding, for a person."""
        return (
            f"a linear model that sees of each picture only {self.features} is right in {self.accuracy:.1%} of cases "
            f"[{self.low:.1%}, {self.high:.1%}]; always naming the larger class, in {self.majority:.1%}"
        )


def shortcut_baselines(table: pd.DataFrame) -> list[Shortcut]:
    """Baselines from the pixels' statistics alone and from the files' properties alone; none for a tiny data set."""
    rows = table[table["split"] != "unused"]
    if len(rows) > _MOST_PICTURES:
        rows = rows.sample(_MOST_PICTURES, random_state=0)
    if rows.groupby("label")["group"].nunique().min() < _FEWEST_GROUPS:
        return []
    found = [_baseline("its light and colour", rows[list(PIXEL_STATISTICS)].to_numpy(dtype=np.float64), rows)]
    files = _file_properties(rows)
    if files.shape[1]:
        found.append(_baseline("the size and format of its file", files, rows))
    return found


def _file_properties(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Logarithms of width, height and bytes, and the format: those that differ at all."""
    sizes = rows[["width", "height", "bytes"]].astype(float).apply(np.log1p)
    formats = pd.get_dummies(rows[["format", "mode"]], dtype=float)
    columns = sizes.join(formats)
    return columns.loc[:, columns.nunique() > 1].to_numpy(dtype=np.float64)


def _baseline(features: str, values: NDArray[np.float64], rows: pd.DataFrame) -> Shortcut:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from src.evaluation.scores import proportion

    labels = rows["label"].to_numpy()
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    called = cross_val_predict(model, values, labels, groups=rows["group"].to_numpy(), cv=folds)
    accuracy = proportion(called == labels, rows["group"].to_numpy())
    majority = float(max(labels.mean(), 1 - labels.mean()))
    return Shortcut(features, accuracy.value, accuracy.low, accuracy.high, majority)
