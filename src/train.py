"""Train one classifier, evaluate it honestly and record the run: `python -m src.train model=deep aug=strong`.

The whole story of a run is `train` below; each line of it is a module of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .cli.hydra_command import hydra_command
from .config import Config

if TYPE_CHECKING:
    from .evaluation.evaluation import Evaluation
    from .tracking.link import RunLink
    from .training.fit import Fit


@dataclass(frozen=True)
class TrainResult:
    """What a run gave. `evaluation` is None for `trainer=overfit`, `run_id` without tracking."""

    run_id: str | None
    name: str
    parameters: int
    flops: int
    weights_digest: str
    fit: Fit
    evaluation: Evaluation | None

    @property
    def scores(self) -> dict[str, float]:
        """`best/val_*` of the epoch whose weights are restored, `validation/*` and `test/*`, named as in MLflow."""
        from .evaluation.summary import score_metrics

        history, best = self.fit.history, self.fit.best_epoch - 1
        fitted = {f"best/{name}": values[best] for name, values in history.items() if name.startswith("val_")}
        return fitted if self.evaluation is None else fitted | score_metrics(self.evaluation)


def train(config: Config, overrides: Sequence[str] = (), link: RunLink | None = None) -> TrainResult:
    """Prepare, build, fit, evaluate, record. `overrides` are those that made `config`, for the run's name and command;
    `link` ties the run to the sweep that it is a job of.

    Raises DataError, TrainingError or TrackingError for what a user can mend.
    """
    from .data.prepared import prepare
    from .evaluation.summary import run_name
    from .tracking.store import check_store

    check_store(config.tracking, patient=link is not None)
    dataset = prepare(config.dataset)
    print(f"{run_name(config, overrides)}: {config.dataset.name} is prepared, Keras starts", flush=True)

    from .training.backend import distribution, reset, start_backend

    start_backend()  # quietly, before anything else imports Keras
    from .models.cnn import create_classifier
    from .models.weights import full_precision
    from .training.fit import fit
    from .training.record import start_record

    precision = reset(config.seed, config.trainer.precision)
    with start_record(config, overrides, dataset, precision, link) as record:
        with distribution():
            classifier = create_classifier(config.model, config.dataset.image_size)
            parameters, flops = record.model(classifier)
            fitted = fit(classifier, dataset, config, report=record.epoch, console=record.console)
        final = full_precision(classifier, config)
        digest = record.fitted(fitted, final, dataset)
        evaluation = None
        if not config.trainer.overfit:
            evaluation = record.evaluate_model(final, dataset, parameters=parameters, flops=flops)
    return TrainResult(record.run.id, record.name, parameters, flops, digest, fitted, evaluation)


def objective(config: Config, result: TrainResult) -> float | None:
    """What an optimizing sweeper gets of a run; None for `trainer=overfit`, which evaluates nothing."""
    return result.scores.get(config.objective)


main = hydra_command(train, schema=Config, objective=objective)

if __name__ == "__main__":
    main()
