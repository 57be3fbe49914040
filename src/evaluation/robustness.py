"""Accuracy of a model under corruptions that it was not trained for."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..config import EvaluationConfig
from ..metrics.calibration import Decision
from ..metrics.intervals import Score, proportion
from ..metrics.log_odds import apply_temperature
from ..models.predictions import IMAGES_AT_ONCE, Predict
from ..reports.style import INK, SEQUENTIAL, axes, hide_frame, styled
from ..system import progress
from .corruptions import CORRUPTIONS, corrupt


@dataclass(frozen=True)
class Robustness:
    """`table` has a row per corruption and severity: accuracy, low, high; `clean` is that of the same images."""

    table: pd.DataFrame
    clean: Score
    images: int
    images_per_second: float

    def metrics(self, split: str) -> dict[str, float]:
        """Mean accuracy over all corruptions and the rate, under MLflow keys."""
        return {
            f"{split}/corrupted_accuracy": float(self.table["accuracy"].mean()),
            f"{split}/corruption_images_per_second": self.images_per_second,
        }


def measure_robustness(
    predict: Predict,
    images: NDArray[np.uint8],
    predictions: pd.DataFrame,
    decision: Decision,
    config: EvaluationConfig,
) -> Robustness:
    """Accuracy under every corruption at the severities `config.corruptions`.

    `images` (all, size, size, 3) may be a memory map; the index of `predictions` says which of them each row is
    about, its columns the true `label`, the `group` and the `probability` of the clean image. At most
    `config.corruption_images`, sampled by seed, are used.
    """
    count = min(len(predictions), config.corruption_images)
    chosen = np.sort(np.random.default_rng(config.seed).choice(len(predictions), count, replace=False))
    rows = predictions.iloc[chosen]
    sample = np.asarray(images[rows.index.to_numpy()])
    truth, groups = rows["label"].to_numpy() == 1, rows["group"].to_numpy()
    started, found = time.perf_counter(), []
    conditions = [(name, severity) for name in CORRUPTIONS for severity in config.corruptions]
    for name, severity in progress(conditions, "robustness"):
        uncalibrated = _predict_corrupted(predict, sample, name, severity, config.seed)
        predicted = apply_temperature(uncalibrated, decision.temperature) >= decision.threshold
        accuracy = proportion(predicted == truth, groups)
        found.append((name, severity, accuracy.value, accuracy.low, accuracy.high))
    table = pd.DataFrame(found, columns=["corruption", "severity", "accuracy", "low", "high"])
    clean = proportion((rows["probability"] >= decision.threshold) == truth, groups)
    return Robustness(table, clean, count, count * len(found) / (time.perf_counter() - started))


def _predict_corrupted(
    predict: Predict, images: NDArray[np.uint8], name: str, severity: int, seed: int
) -> NDArray[np.floating]:
    found = []
    for start in range(0, len(images), IMAGES_AT_ONCE):
        chunk = images[start : start + IMAGES_AT_ONCE]
        found.append(np.asarray(predict(corrupt(chunk, name, severity, seed=seed, first=start))).reshape(-1))
    return np.concatenate(found)


def mean_corruption_error(table: pd.DataFrame, baseline: pd.DataFrame) -> float:
    """Errors summed over severities, relative to a baseline model's, averaged over corruptions; 1 is as good as it.

    The mCE of Hendrycks and Dietterich 2019 (arXiv 1903.12261), section 4.2, over the corruptions and severities that
    both tables hold; nan where there are none. A corruption under which the baseline makes no error does not count.
    """
    both = table.merge(baseline, on=["corruption", "severity"], suffixes=("", "_baseline"))
    errors = (1 - both.set_index("corruption")[["accuracy", "accuracy_baseline"]]).groupby("corruption").sum()
    ratio = errors["accuracy"] / errors["accuracy_baseline"]
    return float(ratio[np.isfinite(ratio)].mean())


@styled
def robustness_heat_map(robustness: Robustness) -> Figure:
    """Accuracy by corruption (rows, the most harmful first) and severity (columns)."""
    grid = robustness.table.pivot_table(index="corruption", columns="severity", values="accuracy")
    grid = grid.loc[grid.mean(axis=1).sort_values().index]
    title = f"Accuracy under corruption, {robustness.images:,} images\nclean {robustness.clean}"
    figure, ax = axes(7.2, 7.0, title, "Severity", "")
    image = ax.imshow(grid, cmap=SEQUENTIAL, vmin=0.5, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(grid.to_numpy()):
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value < 0.75 else INK)
    hide_frame(ax)
    ax.set_xticks(range(grid.shape[1]), [str(severity) for severity in grid.columns])
    ax.set_yticks(range(grid.shape[0]), [str(name).replace("_", " ") for name in grid.index])
    figure.colorbar(image, label="Accuracy", shrink=0.6, extend="min")
    return figure
