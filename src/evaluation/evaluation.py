"""Evaluating one model on one data set: what is chosen on validation, and then what it reaches on test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import EvaluationConfig
from ..metrics.calibration import (
    MIN_BIN_SIZE,
    MIN_BINS,
    Decision,
    calibration_error_by_chance,
    expected_calibration_error,
)
from ..metrics.intervals import Score, proportion
from ..metrics.log_odds import apply_temperature
from ..metrics.scores import score
from ..metrics.slices import slice_table
from ..models.predictions import Predict, latency, predict_splits

if TYPE_CHECKING:
    import keras

    from ..data.prepared import PreparedDataset
    from .explanation import Explanation
    from .robustness import Robustness

MAX_WRONG = 18


@dataclass(frozen=True)
class Evaluation:
    """All that evaluating found out.

    `scores` holds the scores by split and name, `metrics` further numbers by MLflow key, `predictions` one row per
    evaluated image (sha256, group, label, split, probability, uncalibrated, predicted; the index is its row in the
    data set).
    Slices, robustness and explanation are those of the last evaluated split, None where the config leaves them out.
    `worst_images` (n, size, size, 3) belong to the rows `worst` of the predictions.
    """

    class_names: Sequence[str]
    decision: Decision
    scores: dict[str, dict[str, Score]]
    metrics: dict[str, float]
    predictions: pd.DataFrame
    worst: pd.DataFrame
    worst_images: NDArray[np.uint8] = field(repr=False)
    slices: pd.DataFrame | None = None
    robustness: Robustness | None = None
    explanation: Explanation | None = None

    @property
    def threshold(self) -> float:
        """The (calibrated) probability from which an image is predicted positive."""
        return self.decision.threshold

    @property
    def temperature(self) -> float:
        """The divisor of the model's log-odds."""
        return self.decision.temperature

    @property
    def last_split(self) -> str:
        """The split that the headline is about: test, or validation where there is no test split."""
        return list(self.scores)[-1]

    def split(self, name: str) -> pd.DataFrame:
        """The predictions of one split."""
        return self.predictions[self.predictions["split"] == name]

    def groups(self, name: str) -> int:
        """The number of groups of near-duplicates in one split."""
        return int(self.split(name)["group"].nunique())


def evaluate_model(
    predict: Predict,
    dataset: PreparedDataset,
    config: EvaluationConfig,
    *,
    model: keras.Model | None = None,
    decision: Decision | None = None,
) -> Evaluation:
    """Evaluate the model behind `predict`: images (n, size, size, 3) uint8 to P(positive class) (n,).

    Temperature, threshold and abstain band are fitted on the validation split, unless a `decision` is given; the test
    split is only scored. The Keras `model` behind `predict` is needed for Grad-CAM alone. Raises DataError where there
    is nothing to evaluate.
    """
    predictions = predict_splits(predict, dataset)
    if decision is None:
        validation = predictions[predictions["split"] == "validation"]
        decision = Decision.fit(validation["label"], validation["uncalibrated"], config)
    predictions["probability"] = apply_temperature(predictions["uncalibrated"], decision.temperature)
    predictions["predicted"] = predictions["probability"] >= decision.threshold
    evaluated = {str(name): rows for name, rows in predictions.groupby("split", sort=False)}
    last, rows = list(evaluated.items())[-1]
    metrics = {"model/latency_ms": latency(predict, dataset.images[rows.index[0]])}
    for name, found in evaluated.items():
        metrics |= _metrics(name, found, decision)
    robustness, explanation = _robustness_and_explanation(predict, dataset, rows, decision, config, model)
    for result in (robustness, explanation):
        metrics |= result.metrics(last) if result else {}
    worst = _worst(rows)
    return Evaluation(
        class_names=dataset.class_names,
        decision=decision,
        scores={name: _scores(found, decision, config) for name, found in evaluated.items()},
        metrics=metrics,
        predictions=predictions,
        worst=worst,
        worst_images=np.asarray(dataset.images[worst.index.to_numpy()]),
        slices=_slices(dataset, rows, config) if config.slices else None,
        robustness=robustness,
        explanation=explanation,
    )


def _scores(rows: pd.DataFrame, decision: Decision, config: EvaluationConfig) -> dict[str, Score]:
    labels, probabilities, groups = (rows[name].to_numpy() for name in ("label", "probability", "group"))
    return score(
        labels, probabilities, groups, threshold=decision.threshold, resamples=config.resamples, seed=config.seed
    )


def _metrics(split: str, rows: pd.DataFrame, decision: Decision) -> dict[str, float]:
    labels, probabilities = rows["label"].to_numpy(), rows["probability"].to_numpy()
    metrics = {}
    if len(rows) >= MIN_BINS * MIN_BIN_SIZE:
        metrics = {
            f"{split}/calibration_error": expected_calibration_error(labels, probabilities),
            f"{split}/calibration_error_uncalibrated": expected_calibration_error(labels, rows["uncalibrated"]),
            f"{split}/calibration_error_by_chance": calibration_error_by_chance(probabilities),
        }
    if decision.abstain:
        answered = decision.answered(probabilities)
        metrics[f"{split}/answered"] = float(answered.mean())
        metrics[f"{split}/answered_accuracy"] = proportion(_hits(rows)[answered]).value
    return metrics


def _hits(rows: pd.DataFrame) -> NDArray[np.bool_]:
    return (rows["predicted"] == (rows["label"] == 1)).to_numpy()


def _worst(rows: pd.DataFrame) -> pd.DataFrame:
    """The wrongly predicted rows, the most confident mistake first."""
    wrong = rows[~_hits(rows)]
    surprise = (wrong["probability"] - wrong["label"]).abs()
    return wrong.loc[surprise.sort_values(ascending=False, kind="stable").index[:MAX_WRONG]]


def _slices(dataset: PreparedDataset, rows: pd.DataFrame, config: EvaluationConfig) -> pd.DataFrame:
    return slice_table(dataset.table.iloc[rows.index], _hits(rows), rows["group"].to_numpy(), config.min_slice_size)


def _robustness_and_explanation(
    predict: Predict,
    dataset: PreparedDataset,
    rows: pd.DataFrame,
    decision: Decision,
    config: EvaluationConfig,
    model: keras.Model | None,
) -> tuple[Robustness | None, Explanation | None]:
    """Run the parts that need many more passes over the model, each as far as the config asks for it."""
    robustness, explanation = None, None
    if config.corruptions:
        from .robustness import measure_robustness

        robustness = measure_robustness(predict, dataset.images, rows, decision, config)
    if config.explanations:
        from .explanation import explain

        explanation = explain(predict, dataset, rows, decision, config, model)
    return robustness, explanation
