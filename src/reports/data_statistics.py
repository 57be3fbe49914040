"""A data set's table in numbers: counts by property, statistics by class, and what is known of the crops."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..metrics.intervals import effective_groups, group_codes
from ..metrics.scores import auc_interval
from ..metrics.slices import distinct_columns
from .pages import histogram_paths

PIXEL_STATISTICS = ("brightness", "contrast", "saturation", "sharpness", "red", "green", "blue")
FOLDS = 5
SUSPICIOUS_AUC = 0.53
"""Of 60 sets of 200 images with random labels the low end lay above this in none, above 0.5 in two."""
_MIN_GROUPS = 5
"""Fewest groups of a class that are looked at."""
_MAX_IMAGES = 20_000


@dataclass(frozen=True)
class Shortcut:
    """Cross-validated area under the ROC curve of a small model on `features`, with its 95 % interval: 0.5 is chance,
    whatever the sizes of the classes.
    """

    features: str
    auc: float
    low: float
    high: float

    @property
    def suspicious(self) -> bool:
        """Return whether the model surely separates the classes better than chance, and by more than a trace."""
        return self.low > SUSPICIOUS_AUC

    @property
    def sentence(self) -> str:
        """The finding, for a person."""
        return (
            f"a small model that sees only {self.features} of each image separates the classes: ROC AUC {self.auc:.3f} "
            f"[{self.low:.3f}, {self.high:.3f}], where 0.5 is chance"
        )


def shortcut_baselines(table: pd.DataFrame) -> list[Shortcut]:
    """Baselines from the pixels' statistics alone and from the files' properties alone; none for a tiny data set."""
    rows = table[table["split"] != "unused"]
    if len(rows) > _MAX_IMAGES:
        rows = rows.sample(_MAX_IMAGES, random_state=0)
    if rows.groupby("label")["group"].nunique().min() < _MIN_GROUPS:
        return []
    found = [_baseline("the brightness and color", rows[list(PIXEL_STATISTICS)].to_numpy(dtype=np.float64), rows)]
    files = _file_properties(rows)
    if files.shape[1]:
        found.append(_baseline("the dimensions, file size and format", files, rows))
    return found


def _file_properties(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Logarithms of width, height and bytes, and the format: those that differ at all."""
    sizes = rows[["width", "height", "bytes"]].astype(float).apply(np.log1p)
    formats = pd.get_dummies(rows[["format", "mode"]], dtype=float)
    columns = sizes.join(formats)
    return columns.loc[:, columns.nunique() > 1].to_numpy(dtype=np.float64)


def _baseline(features: str, values: NDArray[np.float64], rows: pd.DataFrame) -> Shortcut:
    """Rank the images by a linear model and by small trees, which see that a middle value means a class, together."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels, groups = rows["label"].to_numpy(), rows["group"].to_numpy()
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
    trees = RandomForestClassifier(40, max_depth=5, class_weight="balanced", random_state=0)
    scores = [
        cross_val_predict(model, values, labels, groups=groups, cv=folds, method="predict_proba")[:, 1]
        for model in (linear, trees)
    ]
    area = float(roc_auc_score(labels, np.mean(scores, axis=0)))
    held = [effective_groups(group_codes(groups[labels == label], int((labels == label).sum()))) for label in (1, 0)]
    return Shortcut(features, area, *auc_interval(area, *held))


_SIDE_BUCKETS = (0, 64, 128, 256, 512, 1024, 2048, 1_000_000)


def property_counts(table: pd.DataFrame) -> list[tuple[str, list[tuple[str, int, int]]]]:
    """Counts of class 0 and 1 by source, format, color mode and longer side, those that the files have."""
    sides = table[["width", "height"]].max(axis=1)
    labels = [f"{low} to {high - 1}" for low, high in pairwise(_SIDE_BUCKETS[:-1])]
    labels.append(f"{_SIDE_BUCKETS[-2]} and more")
    properties = {
        "source": table["source"],
        "shipped split": table["shipped_split"],
        "format": table["format"],
        "color mode of the file": table["mode"],
        "color": table["color"].replace({"color": "in color", "gray": "gray"}),
        "longer side, pixels": pd.cut(sides, _SIDE_BUCKETS, labels=labels, right=False),
    }
    counts = []
    for name, values in properties.items():
        crossed = pd.crosstab(values, table["label"]).reindex(columns=[0, 1], fill_value=0)
        crossed = crossed[crossed.sum(axis=1) > 0]
        if len(crossed):
            counts.append((name, [(str(value), int(row[0]), int(row[1])) for value, row in crossed.iterrows()]))
    return counts


def class_statistics(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Each statistic by class: mean, deviation, histograms, and how well it separates the classes by itself.

    Those that say nothing of their own are left out: in gray images saturation and the three colors.
    """
    labels = table["label"].to_numpy()
    found = []
    for name in distinct_columns(table, PIXEL_STATISTICS):
        values = [table[name].to_numpy(dtype=np.float64)[labels == label] for label in (0, 1)]
        found.append(
            {
                "name": name,
                "means": [float(array.mean()) for array in values],
                "deviations": [float(array.std()) for array in values],
                "paths": histogram_paths(values),
                "auc": _separation(*values),
            }
        )
    return found


def _separation(negative: NDArray[np.float64], positive: NDArray[np.float64]) -> float:
    """Area under the ROC curve, on whichever side is above 0.5 (Mann-Whitney U)."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([negative, positive]))[len(negative) :]
    area = (ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative))
    return float(max(area, 1 - area))


def crop_hints(table: pd.DataFrame, image_size: int) -> list[str]:
    """Estimate how large the faces are in the images, and what resizing does to them."""
    hints = []
    if "scale" in table and table["scale"].notna().any():
        heights = 2 * table["scale"].dropna()
        hints.append(f"Faces are {heights.min():.0%} to {heights.max():.0%} of the image's height.")
    sizes = table[["width", "height"]].drop_duplicates()
    width, height = sizes.iloc[0]
    if len(sizes) == 1 and width == height and width < 128 and image_size > width:
        hints.append(
            f"Every image is {width}x{height}: most likely cropped to the face, and enlarged "
            f"{image_size / width:.1f} times here; a smaller dataset.image_size loses nothing."
        )
    ratio = (table["width"] / table["height"]).to_numpy()
    stretched = float(((ratio > 1.5) | (ratio < 1 / 1.5)).mean())
    if stretched > 0.02:
        hints.append(f"{stretched:.0%} of the images are over 1.5 times as long one way as the other, and squeezed.")
    small = float((table[["width", "height"]].min(axis=1) < image_size / 2).mean())
    if small > 0.02 and len(sizes) > 1:
        hints.append(f"{small:.0%} of the images are less than half of {image_size} pixels on a side and get blurred.")
    return hints
