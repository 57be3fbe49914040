"""Judging one model on one data set: what is chosen on validation, and then what it reaches on test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.config import EvaluationConfig
from src.errors import DataError
from src.evaluation.calibration import Decision, apply_temperature, expected_calibration_error
from src.evaluation.scores import Score, proportion, score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from src.data.prepared import PreparedDataset

Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating]]

SPLITS = ("validation", "test")
PICTURES_AT_ONCE = 512
MOST_WRONG = 18


@dataclass(frozen=True)
class Evaluation:
    """All that judging found out.

    `scores` holds the scores by split and name, `metrics` further numbers by MLflow key, `predictions` one row per
    judged picture (sha256, group, label, split, probability, uncalibrated). `worst_pictures` (n, size, size, 3) belong
    to the rows `worst` of the predictions.
    """

    class_names: Sequence[str]
    decision: Decision
    scores: dict[str, dict[str, Score]]
    metrics: dict[str, float]
    predictions: pd.DataFrame
    worst: pd.DataFrame
    worst_pictures: NDArray[np.uint8] = field(repr=False)

    @property
    def threshold(self) -> float:
        """The (calibrated) probability from which a picture is called positive."""
        return self.decision.threshold

    @property
    def temperature(self) -> float:
        """What the model's log-odds are divided by."""
        return self.decision.temperature

    def split(self, name: str) -> pd.DataFrame:
        """The predictions of one split."""
        return self.predictions[self.predictions["split"] == name]

    def figures(self) -> dict[str, Figure]:
        """Figures of the last judged split (test), by file name without suffix."""
        from src.evaluation import figures, sheets

        split = list(self.scores)[-1]
        rows, scores = self.split(split), self.scores[split]
        labels, probabilities = rows["label"].to_numpy(), rows["probability"].to_numpy()
        threshold, names = self.threshold, self.class_names
        drawn = {
            "confusion_matrix": figures.confusion_matrix(labels, probabilities, threshold=threshold, class_names=names),
            "probabilities": figures.probability_histogram(
                labels, probabilities, threshold=threshold, class_names=names
            ),
            "reliability": figures.reliability_diagram(labels, probabilities, rows["uncalibrated"].to_numpy()),
            "coverage_accuracy": figures.coverage_accuracy(labels, probabilities, threshold=threshold),
            "most_wrong": sheets.most_wrong(
                self.worst_pictures,
                self.worst["label"].to_numpy(),
                self.worst["probability"].to_numpy(),
                threshold=threshold,
                class_names=names,
            ),
        }
        if len(np.unique(labels)) == 2:
            drawn["roc_curve"] = figures.roc_curve(labels, probabilities, area=scores["roc_auc"], threshold=threshold)
            drawn["precision_recall_curve"] = figures.precision_recall_curve(
                labels, probabilities, area=scores["average_precision"], threshold=threshold
            )
        return drawn


def judge(
    predict: Predict, dataset: PreparedDataset, config: EvaluationConfig, *, decision: Decision | None = None
) -> Evaluation:
    """Judge the model behind `predict`: pictures (n, size, size, 3) uint8 to P(positive class) (n,).

    Temperature, threshold and abstain band are fitted on the validation part, unless a `decision` is given; the test
    part is only scored. Raises DataError where there is nothing to judge.
    """
    predictions = predict_splits(predict, dataset)
    if decision is None:
        validation = predictions[predictions["split"] == "validation"]
        decision = Decision.fit(validation["label"], validation["uncalibrated"], config)
    predictions["probability"] = apply_temperature(predictions["uncalibrated"], decision.temperature)
    judged = {str(name): rows for name, rows in predictions.groupby("split", sort=False)}
    worst = _most_wrong(list(judged.values())[-1], decision.threshold)
    return Evaluation(
        class_names=dataset.class_names,
        decision=decision,
        scores={name: _split_scores(rows, decision, config) for name, rows in judged.items()},
        metrics={key: value for name, rows in judged.items() for key, value in _metrics(name, rows, decision).items()},
        predictions=predictions,
        worst=worst,
        worst_pictures=np.asarray(dataset.images[worst.index.to_numpy()]),
    )


def predict_splits(predict: Predict, dataset: PreparedDataset) -> pd.DataFrame:
    """The model's own probabilities (`uncalibrated`) on validation and test; the index is the row in the data set."""
    parts = [dataset.table.loc[dataset.rows(split)] for split in SPLITS]
    table = pd.concat([part for part in parts if len(part)]) if any(map(len, parts)) else parts[0]
    if table.empty:
        raise DataError("nothing to judge: the data set has neither a validation nor a test part; see dataset.split")
    predictions: pd.DataFrame = table[["sha256", "group", "label", "split"]].copy()
    predictions["uncalibrated"] = predict_rows(predict, dataset, table.index.to_numpy())
    return predictions


def predict_rows(predict: Predict, dataset: PreparedDataset, rows: NDArray[np.integer]) -> NDArray[np.float64]:
    """Probabilities of the given rows, read from the memory map a few hundred pictures at a time."""
    chunks = np.array_split(rows, max(1, -(-len(rows) // PICTURES_AT_ONCE)))
    return np.concatenate(
        [np.asarray(predict(dataset.images[chunk]), dtype=np.float64).reshape(-1) for chunk in chunks]
    )


def _split_scores(rows: pd.DataFrame, decision: Decision, config: EvaluationConfig) -> dict[str, Score]:
    return score(
        rows["label"],
        rows["probability"],
        rows["group"],
        threshold=decision.threshold,
        resamples=config.resamples,
        seed=config.seed,
    )


def _metrics(split: str, rows: pd.DataFrame, decision: Decision) -> dict[str, float]:
    labels, probabilities = rows["label"].to_numpy(), rows["probability"].to_numpy()
    metrics = {
        f"{split}/calibration_error": expected_calibration_error(labels, probabilities),
        f"{split}/calibration_error_uncalibrated": expected_calibration_error(labels, rows["uncalibrated"]),
    }
    if decision.abstain:
        answered = decision.answered(probabilities)
        right = (probabilities >= decision.threshold) == labels.astype(bool)
        metrics[f"{split}/answered"] = float(answered.mean())
        metrics[f"{split}/answered_accuracy"] = proportion(right[answered]).value
    return metrics


def _most_wrong(rows: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """The wrongly called rows, the surest mistake first."""
    wrong = rows[(rows["probability"] >= threshold) != (rows["label"] == 1)]
    surprise = (wrong["probability"] - wrong["label"]).abs()
    return wrong.loc[surprise.sort_values(ascending=False, kind="stable").index[:MOST_WRONG]]
