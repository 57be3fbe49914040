"""The story of a run: check, prepare, build, fit, evaluate, record. Each line of `train` is a module of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..cli.composition import architectures_of_options
from ..config import Config, TrackingConfig, output_folder
from ..config.identity import Request
from ..system import keep_freed_memory

if TYPE_CHECKING:
    from ..evaluation.evaluation import Evaluation
    from ..models.classifier import ModelCost
    from ..tracking.run_folder import RunLink
    from .fit import FitResult


@dataclass(frozen=True)
class TrainResult:
    """Result of a run. `evaluation` is None for `trainer=overfit`, `run_id` without tracking."""

    run_id: str | None
    name: str
    cost: ModelCost
    weights_digest: str
    fit: FitResult
    evaluation: Evaluation | None

    @property
    def scores(self) -> dict[str, float]:
        """`best/val_*` of the restored epoch, `validation/*` and `test/*`, as they are named in MLflow."""
        from ..evaluation.card import score_metrics

        return self.fit.best | (score_metrics(self.evaluation) if self.evaluation else {})

    def _repr_html_(self) -> str:
        """Show name, run and scores in a notebook."""
        import pandas as pd
        from markupsafe import escape

        table = pd.DataFrame(self.evaluation.scores if self.evaluation else {}).map(str)
        return f"<p><b>{escape(self.name)}</b>, run {self.run_id}</p>{table.to_html()}"


def train(
    config: Config,
    request: Request | None = None,
    link: RunLink | None = None,
    parents_in: TrackingConfig | None = None,
) -> TrainResult:
    """Check, prepare, build, fit, evaluate and record one run.

    `link` is given by the sweep that the run is a job of; `parents_in` is the store of the run that it starts from, if
    not its own. Raises ConfigError, DataError, TrainingError or TrackingError for what the user can fix.
    """
    keep_freed_memory()  # before NumPy starts threads
    from ..tracking.resuming import resume

    preflight(config, patient=link is not None)
    with resume(config, request or Request.of("train", config), link) as resumed:
        return _train(*resumed, parents_in)


def _train(config: Config, request: Request, link: RunLink | None, parents_in: TrackingConfig | None) -> TrainResult:
    from ..data.prepared import prepare
    from ..reports.data_report import data_report
    from .parents import find_parents

    parents = find_parents(config, parents_in)
    dataset = parents.exclude_seen(prepare(config.dataset), config)
    report = data_report(dataset, config.dataset)
    print(f"{request.name}: {config.dataset.name} is prepared, starting Keras", flush=True)

    from .backend import distribution, reset, start_backend

    start_backend()  # quietly, before anything else imports Keras
    from ..evaluation.evaluation import evaluate_model
    from ..models.classifier import create_classifier, model_cost
    from ..models.predictions import predictor
    from ..models.weights import finished, weights_digest
    from .fit import fit
    from .record import open_record

    precision = reset(config.seed, config.trainer.precision)
    with open_record(config, request, precision, link) as record:
        record.data(dataset, report, parents)
        with distribution():
            classifier = create_classifier(config.model, config.dataset.image_size)
            parents.initialize(classifier, config)
            record.model(classifier, cost := model_cost(classifier, flip=config.evaluation.flip))
            result = fit(classifier, dataset, config, record)
        model = finished(classifier, config)
        record.fit(result, model, digest := weights_digest(model))
        evaluation = None
        if not config.trainer.overfit:
            evaluation = evaluate_model(predictor(model), dataset, config.evaluation, model=model)
            record.evaluation(evaluation, cost)
    return TrainResult(record.run.id, request.name, cost, digest, result, evaluation)


def preflight(config: Config, *, patient: bool) -> None:
    """Raise what would otherwise end the run only after its data are prepared: an unusable store, folder or model.

    A `patient` run, a job of a sweep, waits for a store that is locked.
    """
    from ..tracking.store import check_store

    check_store(config.tracking, patient=patient)
    if config.output is not None:
        output_folder(config.output)
    if config.trainer.checkpoint is not None:
        output_folder(config.trainer.checkpoint, "trainer.checkpoint")
    if config.trainer.tensorboard:
        require_tensorboard()
    if config.model.architecture not in architectures_of_options():
        from .backend import start_backend

        start_backend()
        from ..models.cnn import find_architecture

        find_architecture(config.model.architecture)


def require_tensorboard() -> None:
    """Raise ConfigError where the package that Keras's TensorBoard callback needs is not installed."""
    from importlib.util import find_spec

    from ..errors import ConfigError

    if find_spec("tensorboard") is None:
        raise ConfigError("trainer.tensorboard=true: needs the package tensorboard: pip install tensorboard")


def objective(config: Config, result: TrainResult) -> float | None:
    """Return the score that an optimizing sweeper gets; None for `trainer=overfit`, which evaluates nothing."""
    return result.scores.get(config.objective)
