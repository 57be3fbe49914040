"""From a recorded model to a checked bundle: its formats, their comparison with Keras, and the card."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from numpy.typing import NDArray
from rich.table import Table

from ..config import ExportConfig
from ..data.prepared import PreparedDataset
from ..errors import BundleError, TrackingError
from ..evaluation.artifacts import PREDICTIONS
from ..evaluation.recorded import RecordedModel
from ..metrics.intervals import proportion
from ..metrics.scores import score
from ..models.predictions import predict_rows, predictor
from ..reports.pages import markdown_table
from ..runtime.bundle import CARD, MANIFEST, Bundle, finite_scores, write_manifest
from ..runtime.runners import create_runner
from ..tracking.read import artifact
from .formats import CALIBRATION_PICTURES, write_model
from .parity import Parity, compare_outputs, measure

RECORDED_CARD = "model_card.md"


def build_bundle(
    recorded: RecordedModel, dataset: PreparedDataset, config: ExportConfig, folder: Path, name: str
) -> tuple[Bundle, list[Parity]]:
    """Write the bundle `name` to `folder`. Raises BundleError for a format past its tolerance."""
    model = recorded.load()
    calibration = _calibration_pictures(dataset)
    for model_format in config.formats:
        write_model(model, model_format, folder, calibration)
    (folder / CARD).write_text("", encoding="utf-8")
    draft = write_manifest(_describe(recorded, dataset, config, folder, name))
    rows, labels = dataset.rows("validation"), dataset.labels("validation")
    reference = predict_rows(predictor(model), dataset, rows)
    parities = [_compare(draft, model_format, dataset, rows, labels, reference) for model_format in draft.formats]
    for parity in parities:
        parity.check(config.tolerance, config.int8_tolerance)
    recorded_card = _recorded_file(recorded, RECORDED_CARD).read_text()
    (folder / CARD).write_text(_card(recorded_card, _by_source(recorded, dataset), parities), encoding="utf-8")
    return write_manifest(replace(draft, formats=_preferred(parities))), parities


def install(bundle: Bundle, folder: Path) -> Bundle:
    """Move a finished bundle to `folder`, in place of the bundle there. Raises BundleError where other files stand."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise BundleError(f"output={folder}: holds other files than a bundle; name another folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)  # not copied as a whole: a temporary folder may be read by its owner only
    for name in (MANIFEST, *bundle.files):
        shutil.copyfile(bundle.folder / name, folder / name)
    return replace(bundle, folder=folder)


def parity_table(parities: Sequence[Parity]) -> Table:
    """The comparison, for a person."""
    table = Table(title=f"Formats against Keras on {parities[0].pictures:,} validation pictures", title_justify="left")
    for title in ("", *(parity.model_format for parity in parities)):
        table.add_column(title, justify="right" if title else "left")
    for cells in _table_rows(parities):
        table.add_row(*cells)
    return table


def parity_metrics(parities: Sequence[Parity]) -> dict[str, float]:
    """The comparison as flat metrics: `export/int8/mean_difference` and so on."""
    metrics: dict[str, float] = {}
    for parity in parities:
        values = {
            "bytes": parity.size,
            "largest_difference": parity.largest,
            "mean_difference": parity.mean,
            "changed_decisions": parity.changed,
            "accuracy": parity.accuracy.value,
            "accuracy_low": parity.accuracy.low,
            "accuracy_high": parity.accuracy.high,
        }
        if parity.cost:
            values["memory"] = parity.cost.memory
            for found in parity.cost.latencies:
                place = f"batch{found.batch}_threads{found.threads}"
                values |= {f"{place}_median_ms": found.median, f"{place}_p95_ms": found.p95}
        metrics |= {f"export/{parity.model_format}/{name}": float(value) for name, value in values.items()}
    return metrics


def _describe(
    recorded: RecordedModel, dataset: PreparedDataset, config: ExportConfig, folder: Path, name: str
) -> Bundle:
    predictions = pd.read_parquet(_recorded_file(recorded, PREDICTIONS))
    decision = recorded.decision
    scores = {
        str(split): score(part["label"], part["probability"], part["group"], threshold=decision.threshold)
        for split, part in predictions.groupby("split")
    }
    return Bundle(
        folder=folder,
        name=name,
        class_names=dataset.class_names,
        image_size=recorded.config.dataset.image_size,
        threshold=decision.threshold,
        temperature=decision.temperature,
        abstain=decision.abstain,
        dataset_digest=dataset.digest,
        scores=finite_scores(scores),
        run_id=recorded.run.id if recorded.run else None,
        formats=tuple(config.formats),
        files={},
    )


def _recorded_file(recorded: RecordedModel, name: str) -> Path:
    path = artifact(recorded.run, name) if recorded.run else recorded.file.parent / name
    if path is None or not path.exists():
        raise TrackingError(f"run={recorded.name}: cannot be exported, it lacks {name}")
    return path


def _calibration_pictures(dataset: PreparedDataset) -> NDArray:
    """Training pictures, evenly spaced: never those that the formats are compared on."""
    rows = dataset.rows("train")
    return dataset.images[rows[:: max(1, len(rows) // CALIBRATION_PICTURES)]]


def _compare(
    bundle: Bundle, model_format: str, dataset: PreparedDataset, rows: NDArray, labels: NDArray, reference: NDArray
) -> Parity:
    if model_format == "keras":
        return compare_outputs(bundle, model_format, reference, reference, labels, None)
    found = predict_rows(create_runner(bundle, model_format), dataset, rows)
    cost = measure(bundle.model_file(model_format), model_format, bundle.image_size)
    return compare_outputs(bundle, model_format, reference, found, labels, cost)


def _preferred(parities: Sequence[Parity]) -> tuple[str, ...]:
    """Formats in the order in which to use them: the float one that is fastest in batches, the others, int8, Keras."""

    def place(parity: Parity) -> tuple[bool, bool, float]:
        cost = parity.cost
        return cost is None, parity.model_format == "int8", cost.median(32) if cost else 0.0

    return tuple(parity.model_format for parity in sorted(parities, key=place))


_ROWS = ("kB", "accuracy", "95 % interval", "largest difference", "mean difference", "changed decisions")
_COST_ROWS = ("1 picture, ms (p95)", "32 pictures, ms (p95)", "32 on 2 threads", "memory, MB")


def _table_rows(parities: Sequence[Parity]) -> list[tuple[str, ...]]:
    """A row for each measure and a column for each format, so that a terminal's width is enough."""
    return list(zip((*_ROWS, *_COST_ROWS), *(_cells(parity) for parity in parities), strict=True))


def _cells(parity: Parity) -> list[str]:
    accuracy = parity.accuracy
    cells = [f"{parity.size / 1000:,.0f}", f"{accuracy.value:.4f}", f"{accuracy.low:.3f} to {accuracy.high:.3f}"]
    cells += [f"{parity.largest:.1e}", f"{parity.mean:.1e}", str(parity.changed)]
    if parity.cost is None:
        return [*cells, *["-"] * len(_COST_ROWS)]
    by_place = {(found.batch, found.threads): found for found in parity.cost.latencies}
    places = [by_place[place] for place in ((1, 1), (32, 1), (32, 2))]
    return [*cells, *(f"{at.median:.2f} ({at.p95:.2f})" for at in places), f"{parity.cost.memory / 1e6:.0f}"]


def _card(recorded_card: str, by_source: str, parities: Sequence[Parity]) -> str:
    """The run's card with what an export adds, and without what a bundle does not hold: figures, and where the record
    was kept.
    """
    text = "\n".join(line for line in recorded_card.splitlines() if not line.startswith("!["))
    text = re.sub(r" (output|tracking\.\w+|dataset\.cache)=\S+", "", text)
    header = ("", *(parity.model_format for parity in parities))
    table = markdown_table(header, _table_rows(parities))
    return (
        f"{text}\n{by_source}\n## Formats\n\nAgainst Keras on {parities[0].pictures:,} validation pictures.\n\n{table}"
    )


def _by_source(recorded: RecordedModel, dataset: PreparedDataset) -> str:
    """Accuracy for each of several sources, as a section of the card."""
    sources = dataset.table.drop_duplicates("sha256").set_index("sha256")["source"]
    if sources.nunique() < 2:
        return ""
    predictions = pd.read_parquet(_recorded_file(recorded, PREDICTIONS))
    named = predictions.assign(
        source=predictions["sha256"].map(sources), right=predictions["predicted"] == predictions["label"]
    )
    rows = [
        (str(split), str(source), f"{len(part):,}", str(proportion(part["right"], part["group"])))
        for (split, source), part in named.groupby(["split", "source"])
    ]
    return f"\n## By source\n\n{markdown_table(('split', 'source', 'pictures', 'accuracy'), rows)}"
