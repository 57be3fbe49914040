"""Train one classifier, evaluate it honestly and record the run: `python -m src.train model=deep aug=strong`.

The whole story of a run is `train` below; each line of it is a module of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .cli.composition import architectures_of_options
from .cli.hydra_command import hydra_command
from .config import Config, TrackingConfig, output_folder
from .hardware import keep_freed_memory

if TYPE_CHECKING:
    from .evaluation.evaluation import Evaluation
    from .models.inspection import ModelCost
    from .tracking.link import RunLink
    from .training.fit import Fit


@dataclass(frozen=True)
class TrainResult:
    """What a run gave. `evaluation` is None for `trainer=overfit`, `run_id` without tracking."""

    run_id: str | None
    name: str
    cost: ModelCost
    weights_digest: str
    fit: Fit
    evaluation: Evaluation | None

    @property
    def scores(self) -> dict[str, float]:
        """`best/val_*` of the restored epoch (`model/best_val_*` in MLflow), `validation/*` and `test/*`."""
        from .evaluation.summary import score_metrics

        history, best = self.fit.history, self.fit.best_epoch - 1
        fitted = {f"best/{name}": values[best] for name, values in history.items() if name.startswith("val_")}
        return fitted if self.evaluation is None else fitted | score_metrics(self.evaluation)


def train(
    config: Config,
    overrides: Sequence[str] = (),
    link: RunLink | None = None,
    origins_in: TrackingConfig | None = None,
) -> TrainResult:
    """Check, prepare, build, fit, evaluate, record. `overrides` are those that made `config`, for the run's name and
    command; `link` is given by the sweep that the run is a job of. The runs that it starts from or learns from are
    looked for in `origins_in`, where that is not the store that it is recorded in.

    Raises DataError, TrainingError or TrackingError for what the user can fix.
    """
    keep_freed_memory()  # before NumPy starts threads
    from .config.identity import run_name
    from .data.prepared import prepare
    from .reports.data_report import data_report
    from .tracking.moved import check_place
    from .tracking.store import check_store, say_store
    from .training.origins import find_origins

    check_store(config.tracking, patient=link is not None)
    _check_model_and_folders(config)
    check_place(config.tracking)
    if config.resume:
        from .tracking.link import RunLink
        from .tracking.resuming import overrides_of, run_to_resume

        config, resumed = run_to_resume(config)
        overrides = overrides_of(config.tracking, resumed, overrides)
        link = replace(link or RunLink(), resumed=resumed)
    origins = find_origins(config, origins_in)
    dataset = origins.without_seen(prepare(config.dataset), config)
    report = data_report(dataset, config.dataset)
    say_store(config.tracking)
    print(f"{run_name(config, overrides)}: {config.dataset.name} is prepared, starting Keras", flush=True)

    from .training.backend import distribution, reset, start_backend

    start_backend()  # quietly, before anything else imports Keras
    from .evaluation.evaluation import evaluate_model
    from .models.classifier import create_classifier, mirrored
    from .models.inspection import model_cost
    from .models.predictions import predictor
    from .models.weights import full_precision, weights_digest
    from .training.fit import fit
    from .training.record import start_record

    precision = reset(config.seed, config.trainer.precision)
    with start_record(config, overrides, precision, link) as record:
        record.data(dataset, report, origins)
        targets = origins.targets(dataset, config)
        with distribution():
            classifier = create_classifier(config.model, config.dataset.image_size)
            origins.initialize(classifier, config)
            cost = model_cost(mirrored(classifier) if config.evaluation.flip else classifier)
            record.model(classifier, cost)
            fitted = fit(
                classifier,
                dataset,
                config,
                report=record.epoch,
                console=record.console,
                state=record.state,
                targets=targets,
                profile=record.profile,
            )
        final = full_precision(classifier, config)
        digest = weights_digest(final)
        if config.evaluation.flip:
            final = mirrored(final)
        record.fit(fitted, final, digest)
        evaluation = None
        if not config.trainer.overfit:
            evaluation = evaluate_model(predictor(final), dataset, config.evaluation, model=final)
            record.evaluation(evaluation, cost)
    return TrainResult(record.run.id, record.name, cost, digest, fitted, evaluation)


def _check_model_and_folders(config: Config) -> None:
    """Raise ConfigError for what would otherwise end the run only after its data are prepared."""
    if config.output is not None:
        output_folder(config.output)
    if config.trainer.checkpoint is not None:
        output_folder(config.trainer.checkpoint, "trainer.checkpoint")
    if config.model.architecture not in architectures_of_options():
        from .training.backend import start_backend

        start_backend()
        from .models import classifier  # noqa: F401 - registers them
        from .models.registry import find_architecture

        find_architecture(config.model.architecture)


def objective(config: Config, result: TrainResult) -> float | None:
    """What an optimizing sweeper gets of a run; None for `trainer=overfit`, which evaluates nothing."""
    return result.scores.get(config.objective)


main = hydra_command(train, schema=Config, objective=objective)

if __name__ == "__main__":
    main()
