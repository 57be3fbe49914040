"""Evaluation of a recorded model on any data, after a leak check, recorded as a child of the model's run."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from ..config import DatasetConfig, EvaluateConfig, output_folder, project_path
from ..config.identity import Request
from ..data.prepared import prepare, split_digest
from ..errors import ConfigError, DataError
from ..models.classifier import model_cost
from ..models.predictions import predictor
from ..tracking.read import log_report
from ..tracking.store import say_store
from .artifacts import write_artifacts
from .card import ModelFacts, looked_for, score_metrics, score_table, seen_in_training
from .evaluation import evaluate_model
from .leaks import as_evaluated, fingerprints, fitted_on, leaked, own_and_inherited
from .recorded import open_recorded

if TYPE_CHECKING:
    from ..data.prepared import PreparedDataset
    from .evaluation import Evaluation
    from .recorded import RecordedModel


def evaluate(config: EvaluateConfig, request: Request | None = None) -> Evaluation:
    """Evaluate the model that `config.run` names and record the result. Raises DataError or TrackingError."""
    if config.output is not None:
        output_folder(config.output)
    say_store(config.tracking)

    request = request or Request.of("evaluate", config)
    console = Console(markup=False)
    recorded = open_recorded(config.tracking, config.run)
    _check_image(recorded.config.dataset, config, request.overrides)
    data = _evaluated(config, recorded)
    console.print(data.note, highlight=False, soft_wrap=True)
    model = recorded.load()
    predict, dataset = predictor(model), data.images
    evaluation = evaluate_model(predict, dataset, config.evaluation, model=model, decision=recorded.decision)
    with _folder(config.output) as folder:
        _write(folder, evaluation, config, recorded, data, model, request.command)
        console.print(score_table(evaluation))
        if recorded.run is not None:
            run_id = _record(folder, evaluation, config, recorded, dataset)
            console.print(f"recorded as run {run_id}, below {recorded.name}", highlight=False, soft_wrap=True)
    return evaluation


@dataclass(frozen=True)
class Evaluated:
    """The images to evaluate on; `note` tells a person of them, `clause` the model card."""

    images: PreparedDataset
    note: str
    clause: str


def _check_image(own: DatasetConfig, config: EvaluateConfig, overrides: Sequence[str]) -> None:
    """Raise ConfigError where another size or fit of images is asked for than the model's `own`."""
    for key in ("image_size", "fit"):
        asked, given = getattr(config.dataset, key, None), f"dataset.{key}="
        if asked != getattr(own, key) and any(override.startswith(given) for override in overrides):
            raise ConfigError(f"{given}{asked}: this model was trained with {getattr(own, key)}; leave it out")


def _evaluated(config: EvaluateConfig, recorded: RecordedModel) -> Evaluated:
    """The data to evaluate on, at the model's image size, and what to tell of it.

    Another data set than the model's own (or its own, changed since) is all test: no part of it was trained on, but
    for what the leak check finds.
    """
    own = recorded.config.dataset
    dataset = prepare(_at_size_of(own, config))
    if config.dataset is None:
        dataset = as_evaluated(dataset, recorded.fitted_on, own)
        fitted = own_and_inherited(recorded.fitted_on)[0]
        if set(fitted_on(dataset)["sha256"]) == set(fitted["sha256"]):
            return Evaluated(dataset, f"{recorded.name} on its own data", looked_for(own))
    return _without_leaks(dataset, recorded, config)


def _at_size_of(own: DatasetConfig, config: EvaluateConfig) -> DatasetConfig:
    return replace(config.dataset or own, image_size=own.image_size, fit=own.fit)


def _without_leaks(dataset: PreparedDataset, recorded: RecordedModel, config: EvaluateConfig) -> Evaluated:

    own, every = recorded.config.dataset, np.arange(len(dataset.table))
    seen = leaked(recorded.fitted_on, fingerprints(dataset, every), own)
    copies = ", or near-duplicates of them," if own.near_duplicate_distance is not None else ", by their bytes,"
    note = f"leak check: {int(seen.sum()):,} of {every.size:,} images{copies} were seen in training"
    if config.dataset is None and not seen.any():
        raise DataError(
            f"{own.path or own.name} holds none of the images that "
            f"{recorded.name} was trained on; name the data: dataset=photos dataset.path=PATH"
        )
    if seen.any() and config.leaks == "error":
        raise DataError(f"{note}; leaks=drop leaves them out")
    if seen.all() and config.leaks == "drop":
        raise DataError(f"{note}: nothing is left to evaluate on")
    left_out = seen if config.leaks == "drop" else np.zeros_like(seen)
    outcome = ("; left out" if config.leaks == "drop" else "; kept") if seen.any() else ""
    table = dataset.table.assign(split=np.where(left_out, "leaked", "test"))
    digests = {"test": split_digest(table[table["split"] == "test"])}
    clause = seen_in_training(own, kept=int((seen & ~left_out).sum()))
    return Evaluated(replace(dataset, table=table, split_digests=digests), note + outcome, clause)


@contextlib.contextmanager
def _folder(output: str | None) -> Iterator[Path]:
    if output is not None:
        yield project_path(output)
        return
    with tempfile.TemporaryDirectory(prefix="happy-sad-") as temporary:
        yield Path(temporary)


def _write(folder, evaluation, config, recorded, data, model, command) -> None:  # type: ignore[no-untyped-def]

    def path(name: str) -> Path:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        return folder / name

    cost = model_cost(model)
    own = recorded.config.dataset
    facts = ModelFacts(recorded.name, cost.parameters, cost.flops, command, own.source, data.clause)
    evaluated = replace(recorded.config, dataset=_at_size_of(own, config), evaluation=config.evaluation)
    write_artifacts(evaluation, evaluated, data.images, facts, path)


def _record(
    folder: Path, evaluation: Evaluation, config: EvaluateConfig, recorded: RecordedModel, dataset: PreparedDataset
) -> str:

    params = {"run": config.run, "dataset.name": dataset.name, "dataset.digest": dataset.digest, "leaks": config.leaks}
    name = f"{recorded.name} on {dataset.name}"
    metrics = score_metrics(evaluation)
    return log_report(
        config.tracking, "evaluation", folder, parent=recorded.run, name=name, metrics=metrics, params=params
    )
