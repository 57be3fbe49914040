"""A model card, written from the record of a run (Mitchell et al. 2019, doi 10.1145/3287560.3287596)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markdown_it import MarkdownIt
from rich.table import Table

from ..config import Config, DatasetConfig, shell_command
from ..data.duplicates import finds_crops
from ..metrics.calibration import MIN_FITTED, at_its_bound
from ..metrics.intervals import FEW_GROUPS
from ..reports.pages import TEMPLATES, data_uri, render
from .evaluation import Evaluation
from .explanation import METHOD_NAMES

if TYPE_CHECKING:
    from ..data.prepared import PreparedDataset
    from ..models.classifier import ModelCost
    from .evaluation import Evaluation


@dataclass(frozen=True)
class ModelFacts:
    """Facts of the model itself: name, size, FLOPs of one forward pass, the command that made the card,
    the source of its training images, and what is known of these among the evaluated ones, as a clause about them.
    """

    name: str
    parameters: int
    flops: int | None
    command: str
    trained_on: str
    looked_for: str


def model_card(
    config: Config, dataset: PreparedDataset, evaluation: Evaluation, facts: ModelFacts, figures: Collection[str]
) -> str:
    """The card in Markdown. It refers to those of `figures`, by name, that are recorded beside it under `figures/`."""
    negative, positive = evaluation.class_names
    last = evaluation.last_split
    return render(
        "model_card.md",
        evaluate=shell_command("evaluate"),
        **vars(facts),
        config=config,
        negative=negative,
        positive=positive,
        headline=evaluation.scores[last]["accuracy"],
        test_images=f"{len(evaluation.split(last)):,}",
        few_groups=few_groups(evaluation),
        digest=dataset.digest,
        splits=_splits(dataset),
        scores=_scores(evaluation),
        threshold=evaluation.threshold,
        temperature=evaluation.temperature,
        abstain=evaluation.decision.abstain,
        how_chosen=how_chosen(evaluation),
        calibration=calibration_text(evaluation),
        figures=figures,
        **_slices(evaluation),
        robustness=_robustness(evaluation),
        pointing=_pointing(evaluation),
    )


def card_html(markdown: str, figures: Mapping[str, Path]) -> str:
    """The card as one self-contained page: the PNG files `figures`, by name, go where it refers to them."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = re.sub(r"(\[[-+\d.]+), (?=[-+\d.]+\]</td>)", r"\1,&nbsp;", body)  # an interval stands on one line
    body = body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    for name, file in figures.items():
        address = f'src="figures/{name}.png"'
        if address in body:
            body = body.replace(address, f'src="{data_uri(file.read_bytes())}"')
    style = (TEMPLATES / "comparison.css").read_text()
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>Model card</title>\n'
        f"<style>{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _splits(dataset: PreparedDataset) -> list[list[str]]:
    """Rows of the table of splits: name, images, those of either class, digest."""
    rows = []
    for split, digest in dataset.split_digests.items():
        positive, total = int(dataset.labels(split).sum()), len(dataset.rows(split))
        rows.append([split, f"{total:,}", f"{total - positive:,}", f"{positive:,}", f"`{str(digest)[:16]}`"])
    return rows


def _scores(evaluation: Evaluation) -> list[list[str]]:
    """The table of scores with its header first: a row per score, a column per split."""
    splits = list(evaluation.scores.values())
    rows = [[name.replace("_", " "), *(str(scores[name]) for scores in splits)] for name in splits[0]]
    return [["score", *evaluation.scores], *rows]


def _slices(evaluation: Evaluation) -> dict[str, Any]:
    slices = evaluation.slices
    if slices is None:
        return {"slices": None}
    worse = [
        (
            f"{row['column'].replace('_', ' ')}: {row['value']}",
            f"{row['count']:,}",
            f"{row['accuracy']:.3f} [{row['low']:.3f}, {row['high']:.3f}]",
            f"{row['difference']:+.3f} [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]",
        )
        for row in slices[slices["verdict"] == "worse"].to_dict("records")
    ]
    return {"slices": slices, "worse": worse, "tested": int((slices["verdict"] != "too small").sum())}


def _robustness(evaluation: Evaluation) -> dict[str, Any] | None:
    found = evaluation.robustness
    if found is None:
        return None
    by_corruption = found.table.groupby("corruption")["accuracy"].mean().sort_values()
    worst = ", ".join(f"{str(name).replace('_', ' ')} {value:.3f}" for name, value in by_corruption.head(3).items())
    mean = float(found.table["accuracy"].mean())
    return {"mean": mean, "clean": str(found.clean), "images": f"{found.images:,}", "worst": worst}


def _pointing(evaluation: Evaluation) -> list[dict[str, Any]]:
    games = evaluation.explanation.pointing if evaluation.explanation else {}
    return [
        {"method": METHOD_NAMES[method], "share": game.share, "area": game.area, "gain": game.gain, "hits": game.hits}
        for method, game in games.items()
    ]


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
    """Say what was chosen on validation, which makes its scores a little too good; and whether it answers at all."""
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
    """Say where threshold and temperature come from: each is fitted where the config asks for it and images suffice."""
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
    """Name what was looked for among the training images and not found, as a clause about the evaluated images, which
    are of `dataset` too.
    """
    if dataset.near_duplicate_distance is None:
        return "none of which has the same pixels as a training image"
    return f"in none of which a near-duplicate of a training image was found ({_how_looked_for(dataset)})"


def seen_in_training(dataset: DatasetConfig, kept: int) -> str:
    """Say what the `leaks` check looked for in images of another data set than the model's own `dataset`, and how
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
