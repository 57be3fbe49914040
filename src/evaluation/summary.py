"""What an evaluation says: a table for the terminal, metrics and a note for MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from ..config import Config, DatasetConfig
from ..data.duplicates import finds_crops
from ..metrics.calibration import MIN_FITTED, at_its_bound
from ..metrics.intervals import FEW_GROUPS

if TYPE_CHECKING:
    from ..models.classifier import ModelCost
    from .evaluation import Evaluation


def score_table(evaluation: Evaluation) -> Table:
    """Every score of every evaluated split with its 95 % interval."""
    caption = few_groups(evaluation) or None
    table = Table(title="Scores with 95 % intervals", title_justify="left", caption=caption, caption_justify="left")
    table.add_column("")
    for split in evaluation.scores:
        table.add_column(f"{split} (n={len(evaluation.split(split))})", justify="right")
    first = next(iter(evaluation.scores.values()))
    for name in first:
        cells = [str(scores[name]) for scores in evaluation.scores.values()]
        table.add_row(name.replace("_", " "), *cells, style="bold" if name == "accuracy" else None)
    return table


def few_groups(evaluation: Evaluation) -> str:
    """A warning of the splits whose intervals rest on too few groups to be more than rough; empty where none does."""
    counts = {split: evaluation.groups(split) for split in evaluation.scores}
    few = [f"{split} has {count}" for split, count in counts.items() if count < FEW_GROUPS]
    if not few:
        return ""
    return f"{' and '.join(few)} groups of images; with fewer than {FEW_GROUPS}, intervals are rough"


def decision_line(evaluation: Evaluation) -> str:
    """What was chosen on validation, whose scores are therefore a little too good; and whether it answers at all."""
    predicted = evaluation.predictions["predicted"]
    chosen = (
        f"threshold {evaluation.threshold:.3f} and temperature {evaluation.temperature:.2f}, {how_chosen(evaluation)}"
    )
    if at_its_bound(evaluation.temperature):
        chosen += "; the temperature is at its bound, so the probabilities are not to be trusted"
    if predicted.nunique() == 1:
        chosen += f"; the model answers {evaluation.class_names[int(predicted.iloc[0])]} for every image"
    return "; ".join([chosen, *([calibration] if (calibration := calibration_text(evaluation)) else [])])


def how_chosen(evaluation: Evaluation) -> str:
    """Where threshold and temperature come from: each is fitted where the config asks for it and images suffice."""
    decision = evaluation.decision
    chosen = [name for name, was in (("threshold", decision.fitted), ("temperature", decision.calibrated)) if was]
    if len(chosen) == 2:
        return "both chosen on validation"
    labels = evaluation.split("validation")["label"].to_numpy(dtype=int)
    few = labels.size and np.bincount(labels, minlength=2).min() < MIN_FITTED
    reason = f", which has fewer than {MIN_FITTED} images of a class" if few else ""
    return f"{f'only the {chosen[0]}' if chosen else 'neither'} chosen on validation{reason}"


def calibration_text(evaluation: Evaluation) -> str:
    """The last split's calibration error beside that of a perfectly calibrated model; empty without one."""
    split, metrics = evaluation.last_split, evaluation.metrics
    if f"{split}/calibration_error" not in metrics:
        return ""
    error, before, chance = (metrics[f"{split}/calibration_error{end}"] for end in ("", "_uncalibrated", "_by_chance"))
    return (
        f"expected calibration error on {split} {error:.3f} ({before:.3f} without the temperature; a perfectly "
        f"calibrated model would show {chance:.3f} on as many images)"
    )


def score_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Flat metrics: `test/accuracy` with `test/accuracy_low` and `test/accuracy_high`, and so on."""
    metrics = dict(evaluation.metrics)
    for split, scores in evaluation.scores.items():
        for name, score in scores.items():
            metrics[f"{split}/{name}"] = score.value
            metrics[f"{split}/{name}_low"] = score.low
            metrics[f"{split}/{name}_high"] = score.high
    metrics["validation/threshold"] = evaluation.threshold
    metrics["validation/temperature"] = evaluation.temperature
    return metrics


def looked_for(dataset: DatasetConfig) -> str:
    """What was looked for among the training images and not found, as a clause about the evaluated images, which
    are of `dataset` too.
    """
    if dataset.near_duplicate_distance is None:
        return "none of which has the same pixels as a training image"
    return f"in none of which a near-duplicate of a training image was found ({_how_looked_for(dataset)})"


def seen_in_training(dataset: DatasetConfig, kept: int) -> str:
    """What was looked for by the `leaks` check in images of another data set than the model's own `dataset`, and how
    many that were seen are `kept` among the evaluated images, as a clause about these.
    """
    if dataset.near_duplicate_distance is None:
        return f"{kept:,} of which were seen in training as the same file; near-duplicates were not looked for"
    return f"{kept:,} of which, or near-duplicates of them, were seen in training ({_how_looked_for(dataset)})"


def _how_looked_for(dataset: DatasetConfig) -> str:
    hashes = f"up to {dataset.near_duplicate_distance} of 64 pHash bits and {dataset.dhash_distance} dHash bits apart"
    crops = ", and for crops and mirror images by local features" if finds_crops(dataset) else ""
    return f"looked for by hashes of the whole image: {hashes}{crops}"


def note(config: Config, evaluation: Evaluation, *, cost: ModelCost, digest: str, command: str) -> str:
    """A short Markdown description of the run for the top of its page in the MLflow UI."""
    accuracy = evaluation.scores["test"]["accuracy"]
    images = len(evaluation.split("test"))
    negative, positive = evaluation.class_names
    return "\n".join(
        [
            f"**Test accuracy {accuracy.value:.3f}**, 95 % interval {accuracy.low:.3f} to {accuracy.high:.3f}, "
            f"on {images} images, {looked_for(config.dataset)}.",
            "",
            f"- model `{config.model.name}`: {cost}",
            f"- data `{config.dataset.name}` (digest `{digest}`), {negative} = 0, {positive} = 1",
            f"- decision: {positive} from {evaluation.threshold:.3f} on, temperature {evaluation.temperature:.2f}, "
            f"{how_chosen(evaluation)}",
            "",
            "Again:",
            "",
            f"    {command}",
            "",
            "The model labels the apparent expression in an image, not what a person feels.",
        ]
    )
