"""The files that an evaluated run leaves: predictions, tables, the decision, figures, the model card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from ..config import Config
from ..metrics.calibration import Decision
from ..reports.style import save_png
from . import figures
from .card import ModelFacts, card_html, model_card
from .evaluation import Evaluation
from .explanation import explanation_sheet
from .figures import most_wrong
from .robustness import robustness_heat_map

if TYPE_CHECKING:
    from ..data.prepared import PreparedDataset

PREDICTIONS, SLICES, ROBUSTNESS, DECISION = "predictions.parquet", "slices.csv", "robustness.csv", "decision.json"


def write_artifacts(
    evaluation: Evaluation, config: Config, dataset: PreparedDataset, facts: ModelFacts, path: Callable[[str], Path]
) -> None:
    """Write everything about one evaluation; `path(name)` says where the file `name` goes and makes its folder.

    `evaluation.figures=false` leaves out the figures, in the card too.
    """
    evaluation.predictions.to_parquet(path(PREDICTIONS), index=False)
    path(DECISION).write_text(json.dumps(asdict(evaluation.decision), indent=2))
    if evaluation.slices is not None:
        evaluation.slices.to_csv(path(SLICES), index=False)
    if evaluation.robustness is not None:
        evaluation.robustness.table.to_csv(path(ROBUSTNESS), index=False)
    drawn = draw_figures(evaluation) if config.evaluation.figures else {}
    files = {name: path(f"figures/{name}.png") for name in drawn}
    for name, figure in drawn.items():
        save_png(figure, files[name])
    card = model_card(config, dataset, evaluation, facts, list(drawn))
    path("model_card.md").write_text(card)
    path("model_card.html").write_text(card_html(card, files))


def write_learning_curves(history: Mapping[str, Sequence[float]], path: Callable[[str], Path]) -> None:
    """Draw what a fit's metrics were epoch by epoch."""
    save_png(figures.learning_curves(history), path("figures/learning_curves.png"))


def read_decision(file: Path) -> Decision:
    """The decision that `write_artifacts` left."""
    stored = json.loads(file.read_text())
    abstain = tuple(stored["abstain"]) if stored["abstain"] else None
    fitted = stored.get("fitted", True)  # which older records lack, and newer ones tell apart from `calibrated`
    return Decision(stored["threshold"], stored["temperature"], abstain, fitted, stored.get("calibrated", fitted))


def draw_figures(evaluation: Evaluation) -> dict[str, Figure]:
    """Figures of the last evaluated split by name, those that its data and config allow.

    The curves over all thresholds need both classes.
    """
    rows, scores = evaluation.split(evaluation.last_split), evaluation.scores[evaluation.last_split]
    labels, probabilities = rows["label"].to_numpy(), rows["probability"].to_numpy()
    threshold, names = evaluation.threshold, evaluation.class_names
    worst = evaluation.worst
    wrong = (evaluation.worst_images, worst["label"].to_numpy(), worst["probability"].to_numpy())
    drawn = {
        "confusion_matrix": figures.confusion_matrix(labels, probabilities, threshold=threshold, class_names=names),
        "probabilities": figures.probability_histogram(labels, probabilities, threshold=threshold, class_names=names),
        "reliability": figures.reliability_diagram(labels, probabilities, rows["uncalibrated"].to_numpy()),
        "coverage_accuracy": figures.coverage_accuracy(labels, probabilities, threshold=threshold),
        "most_wrong": most_wrong(*wrong, threshold=threshold, class_names=names),
    }
    if len(np.unique(labels)) == 2:
        area, average = scores["roc_auc"], scores["average_precision"]
        drawn["roc_curve"] = figures.roc_curve(labels, probabilities, threshold=threshold, area=area)
        drawn["precision_recall_curve"] = figures.precision_recall_curve(
            labels, probabilities, threshold=threshold, area=average
        )
    if evaluation.slices is not None and len(evaluation.slices):
        drawn["slices"] = figures.slices_figure(evaluation.slices, scores["accuracy"])
    if evaluation.robustness is not None:
        drawn["robustness"] = robustness_heat_map(evaluation.robustness)
    if evaluation.explanation is not None and evaluation.explanation.maps:
        drawn["explanations"] = explanation_sheet(evaluation.explanation, threshold, names)
    return drawn
