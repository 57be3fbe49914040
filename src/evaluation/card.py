"""A model card, written from the record of a run (Mitchell et al. 2019, doi 10.1145/3287560.3287596)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markdown_it import MarkdownIt

from ..config import Config, typed
from ..explanation.explanation import METHOD_NAMES
from ..reports.pages import TEMPLATES, data_uri, render
from .evaluation import Evaluation
from .summary import calibration_text, few_groups, how_chosen

if TYPE_CHECKING:
    from ..data.prepared import PreparedDataset


@dataclass(frozen=True)
class ModelFacts:
    """What the card says of the model itself: name, size, FLOPs of one forward pass, the command that made the card,
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
        evaluate=typed("evaluate"),
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
