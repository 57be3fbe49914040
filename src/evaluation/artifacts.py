"""The files that a evaluated run leaves: predictions, tables, the decision, figures, the model card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from ..metrics.calibration import Decision
from ..reports.figure_style import save_png
from .card import ModelFacts, card_html, model_card
from .evaluation import Evaluation

if TYPE_CHECKING:
    from ..data.prepared import PreparedDataset

PREDICTIONS, SLICES, ROBUSTNESS, DECISION = "predictions.parquet", "slices.csv", "robustness.csv", "decision.json"


def write_artifacts(
    evaluation: Evaluation, config: Config, dataset: PreparedDataset, facts: ModelFacts, path: Callable[[str], Path]
) -> None:
    """Write everything about one evaluation; `path(name)` says where the file `name` goes and makes its folder."""
    evaluation.predictions.to_parquet(path(PREDICTIONS), index=False)
    path(DECISION).write_text(json.dumps(asdict(evaluation.decision), indent=2))
    if evaluation.slices is not None:
        evaluation.slices.to_csv(path(SLICES), index=False)
    if evaluation.robustness is not None:
        evaluation.robustness.table.to_csv(path(ROBUSTNESS), index=False)
    drawn = {}
    for name, figure in evaluation.figures().items():
        drawn[f"figures/{name}.png"] = path(f"figures/{name}.png")
        save_png(figure, drawn[f"figures/{name}.png"])
    card = model_card(config, dataset, evaluation, facts)
    path("model_card.md").write_text(card)
    path("model_card.html").write_text(card_html(card, drawn))


def read_decision(file: Path) -> Decision:
    """The decision that `write_artifacts` left."""
    stored = json.loads(file.read_text())
    abstain = tuple(stored["abstain"]) if stored["abstain"] else None
    return Decision(stored["threshold"], stored["temperature"], abstain)
