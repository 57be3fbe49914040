"""Evaluate a recorded model again, on any data set: `python -m src.evaluate run=best dataset=photos dataset.path=PATH`.

The result is recorded as a child of the model's run. On other data than its own, pictures that the model was fitted on
are found first.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .cli.hydra_command import hydra_command
from .config import EvaluateConfig, output_folder, project_path

if TYPE_CHECKING:
    from .data.prepared import PreparedDataset
    from .evaluation.evaluation import Evaluation
    from .evaluation.recorded import RecordedModel


def evaluate(config: EvaluateConfig, overrides: Sequence[str] = ()) -> Evaluation:
    """Evaluate the model that `config.run` names and record the result. Raises DataError or TrackingError."""
    from .tracking.store import say_store
    from .training.backend import start_backend

    if config.output is not None:
        output_folder(config.output)
    say_store(config.tracking)
    start_backend()  # quietly, before anything else imports Keras
    from rich.console import Console

    from .evaluation import summary
    from .evaluation.evaluation import evaluate_model
    from .evaluation.recorded import open_recorded
    from .models.predictions import predictor

    console = Console(markup=False)
    recorded = open_recorded(config.tracking, config.run)
    dataset, notes = _dataset(config, recorded)
    for note in notes:
        console.print(note, highlight=False, soft_wrap=True)
    model = recorded.load()
    evaluation = evaluate_model(predictor(model), dataset, config.evaluation, model=model, decision=recorded.decision)
    with _folder(config.output) as folder:
        _write(folder, evaluation, config, recorded, dataset, model, overrides)
        console.print(summary.score_table(evaluation))
        if recorded.run is not None:
            run_id = _record(folder, evaluation, config, recorded, dataset)
            console.print(f"recorded as run {run_id}, below {recorded.name}", highlight=False, soft_wrap=True)
    return evaluation


def _dataset(config: EvaluateConfig, recorded: RecordedModel) -> tuple[PreparedDataset, list[str]]:
    """The data to evaluate on, at the model's picture size, and what to tell of it.

    Another data set than the model's own (or its own, changed since) is all test: no part of it was trained on, but
    for what the leak check finds.
    """
    from .data.prepared import prepare
    from .evaluation.leaks import as_evaluated, fitted_on, own_and_inherited

    own = recorded.config.dataset
    dataset = prepare(replace(config.dataset or own, image_size=own.image_size, fit=own.fit))
    if config.dataset is None:
        dataset = as_evaluated(dataset, recorded.fitted_on, own)
        fitted = own_and_inherited(recorded.fitted_on)[0]
        if set(fitted_on(dataset)["sha256"]) == set(fitted["sha256"]):
            return dataset, [f"{recorded.name} on its own data"]
    return _without_leaks(dataset, recorded, config)


def _without_leaks(
    dataset: PreparedDataset, recorded: RecordedModel, config: EvaluateConfig
) -> tuple[PreparedDataset, list[str]]:
    import numpy as np

    from .data.prepared import split_digest
    from .errors import DataError
    from .evaluation.leaks import fingerprints, leaked

    every = np.arange(len(dataset.table))
    seen = leaked(recorded.fitted_on, fingerprints(dataset, every), recorded.config.dataset)
    note = (
        f"leak check: {int(seen.sum()):,} of {every.size:,} pictures, or near-duplicates of them, were seen in training"
    )
    if config.dataset is None and not seen.any():
        raise DataError(
            f"{recorded.config.dataset.path or recorded.config.dataset.name} holds none of the pictures that "
            f"{recorded.name} was trained on; name the data: dataset=photos dataset.path=PATH"
        )
    if seen.any() and config.leaks == "error":
        raise DataError(f"{note}; leaks=drop leaves them out")
    if seen.all() and config.leaks == "drop":
        raise DataError(f"{note}: nothing is left to evaluate on")
    left_out = seen if config.leaks == "drop" else np.zeros_like(seen)
    parts = np.where(left_out, "leaked", "test")
    outcome = "left out" if config.leaks == "drop" else "kept"
    table = dataset.table.assign(split=parts)
    evaluated = replace(dataset, table=table, split_digests={"test": split_digest(table[table["split"] == "test"])})
    return evaluated, [f"{note}{f'; {outcome}' if seen.any() else ''}"]


@contextlib.contextmanager
def _folder(output: str | None) -> Iterator[Path]:
    if output is not None:
        yield project_path(output)
        return
    with tempfile.TemporaryDirectory(prefix="happy-sad-") as temporary:
        yield Path(temporary)


def _write(folder, evaluation, config, recorded, dataset, model, overrides) -> None:  # type: ignore[no-untyped-def]
    from .evaluation.artifacts import write_artifacts
    from .evaluation.card import ModelFacts
    from .models.inspection import model_cost
    from .tracking.provenance import command_line

    def path(name: str) -> Path:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        return folder / name

    cost = model_cost(model)
    facts = ModelFacts(recorded.name, cost.parameters, cost.flops, command_line("evaluate", overrides))
    data = config.dataset or recorded.config.dataset
    write_artifacts(
        evaluation, replace(recorded.config, dataset=data, evaluation=config.evaluation), dataset, facts, path
    )


def _record(
    folder: Path, evaluation: Evaluation, config: EvaluateConfig, recorded: RecordedModel, dataset: PreparedDataset
) -> str:
    from .evaluation import summary
    from .tracking.read import log_report

    params = {"run": config.run, "dataset.name": dataset.name, "dataset.digest": dataset.digest, "leaks": config.leaks}
    name = f"{recorded.name} on {dataset.name}"
    metrics = summary.score_metrics(evaluation)
    return log_report(
        config.tracking, "evaluation", folder, parent=recorded.run, name=name, metrics=metrics, params=params
    )


main = hydra_command(evaluate, schema=EvaluateConfig, config_name="evaluate")

if __name__ == "__main__":
    main()
