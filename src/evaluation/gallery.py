"""All figures of an evaluation, by the names under which they are recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from ..explanation.explanation import explanation_sheet
from ..robustness.robustness import robustness_heat_map
from . import figures
from .sheets import most_wrong

if TYPE_CHECKING:
    from .evaluation import Evaluation


def draw_figures(evaluation: Evaluation) -> dict[str, Figure]:
    """Figures of the last evaluated split, those that its data and config allow."""
    return _score_figures(evaluation) | _curves(evaluation) | _findings(evaluation)


def _score_figures(evaluation: Evaluation) -> dict[str, Figure]:
    rows, worst = evaluation.split(evaluation.last_split), evaluation.worst
    labels, probabilities = rows["label"].to_numpy(), rows["probability"].to_numpy()
    threshold, names = evaluation.threshold, evaluation.class_names
    wrong = (evaluation.worst_pictures, worst["label"].to_numpy(), worst["probability"].to_numpy())
    return {
        "confusion_matrix": figures.confusion_matrix(labels, probabilities, threshold=threshold, class_names=names),
        "probabilities": figures.probability_histogram(labels, probabilities, threshold=threshold, class_names=names),
        "reliability": figures.reliability_diagram(labels, probabilities, rows["uncalibrated"].to_numpy()),
        "coverage_accuracy": figures.coverage_accuracy(labels, probabilities, threshold=threshold),
        "most_wrong": most_wrong(*wrong, threshold=threshold, class_names=names),
    }


def _curves(evaluation: Evaluation) -> dict[str, Figure]:
    """The two curves over all thresholds, which need both classes."""
    rows, scores = evaluation.split(evaluation.last_split), evaluation.scores[evaluation.last_split]
    labels, probabilities, threshold = rows["label"].to_numpy(), rows["probability"].to_numpy(), evaluation.threshold
    if len(np.unique(labels)) < 2:
        return {}
    average = scores["average_precision"]
    return {
        "roc_curve": figures.roc_curve(labels, probabilities, threshold=threshold, area=scores["roc_auc"]),
        "precision_recall_curve": figures.precision_recall_curve(
            labels, probabilities, threshold=threshold, area=average
        ),
    }


def _findings(evaluation: Evaluation) -> dict[str, Figure]:
    drawn = {}
    if evaluation.slices is not None and len(evaluation.slices):
        drawn["slices"] = figures.slices_figure(evaluation.slices, evaluation.scores[evaluation.last_split]["accuracy"])
    if evaluation.robustness is not None:
        drawn["robustness"] = robustness_heat_map(evaluation.robustness)
    if evaluation.explanation is not None and evaluation.explanation.maps:
        drawn["explanations"] = explanation_sheet(evaluation.explanation, evaluation.threshold, evaluation.class_names)
    return drawn
