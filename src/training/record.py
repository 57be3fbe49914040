"""Record of a run while it goes: on the terminal for the person who waits, in the tracking store for later."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import yaml
from rich.console import Console

from ..config import Config, plain, shell_command, with_absolute_paths
from ..config.identity import Request
from ..data.prepared import PreparedDataset
from ..evaluation.artifacts import write_artifacts, write_learning_curves
from ..evaluation.card import ModelFacts, decision_line, looked_for, note, score_metrics, score_table
from ..evaluation.evaluation import Evaluation
from ..evaluation.figures import validation_grid
from ..evaluation.leaks import FINGERPRINTS, fitted_on
from ..models.classifier import ModelCost
from ..reports.data_report import DataReport
from ..tracking.provenance import provenance_tags, uncommitted_changes
from ..tracking.resuming import keep_request
from ..tracking.run import Run, start_run
from ..tracking.run_folder import RunLink
from .backend import device_name
from .callbacks import Logs
from .fit import FitResult
from .parents import Parents

SHOWN_IMAGES = 16


class Record:
    """One run's record. Each method writes one step down: on the terminal what a person wants to see of it, in the run
    all of it. Nothing is computed here but how it looks.
    """

    def __init__(self, config: Config, run: Run, console: Console, request: Request, link: RunLink | None) -> None:
        self.config, self.run, self.console, self.request = config, run, console, request
        self.link = link or RunLink()

    @property
    def state(self) -> Path | None:
        """The folder for the state of the fit, where it is to be kept."""
        return self.run.checkpoint if self.config.trainer.keep_state else None

    @property
    def tensorboard(self) -> Path | None:
        """The folder for TensorBoard's logs, where they are wanted."""
        return self.run.path("tensorboard") if self.config.trainer.tensorboard else None

    def data(self, dataset: PreparedDataset, report: DataReport, parents: Parents) -> None:
        """The data: its splits and digests, its report, and what a later leak check needs to know of it."""
        self.dataset = dataset
        if parents.tags:
            self.run.set_tags(parents.tags)
        fitted_on(dataset, parents.seen).to_parquet(self.run.path(FINGERPRINTS), index=False)
        shutil.copyfile(report.page, self.run.path("data_report.html"))
        self.run.log_dataset(dataset, source=self.config.dataset.path or self.config.dataset.source)
        sizes = ", ".join(f"{len(dataset.rows(split)):,} {split}" for split in dataset.split_digests)
        if dataset.auxiliary is not None:
            sizes += f", {len(dataset.auxiliary.rows):,} auxiliary"
        limited = f" (dataset.limit={self.config.dataset.limit})" if self.config.dataset.limit else ""
        rejected = f"{len(dataset.rejected):,} rejected"
        self._print(f"{dataset.name}: {sizes} images{limited}; {rejected}; digest {dataset.digest}")
        for warning in report.warnings:
            self.console.print(warning, style="yellow", soft_wrap=True)

    def model(self, classifier: keras.Model, cost: ModelCost) -> None:
        """The model and what it costs."""
        self.classifier = classifier
        flops = {} if cost.flops is None else {"model/flops": cost.flops}
        self.run.log_metrics({"model/parameters": cost.parameters, **flops})
        self._print(f"{classifier.name}: {cost}")

    def epoch(self, metrics: Logs, epoch: int) -> None:
        """One epoch's metrics, and how sure it is of the same few validation images; the step is the epoch."""
        self.link.report(metrics, epoch + 1, self.config.trainer.stop_after or self.config.trainer.epochs)
        self.run.log_metrics(metrics, step=epoch + 1)
        if self.run.id is None or not self.config.evaluation.figures:
            return
        shown = self.dataset.rows("validation")[:SHOWN_IMAGES]
        images, labels = np.asarray(self.dataset.images[shown]), self.dataset.table["label"].to_numpy()[shown]
        probabilities = keras.ops.convert_to_numpy(self.classifier(images.astype("float32"), training=False))
        self.run.log_image("validation", validation_grid(images, labels, probabilities[:, 0]), step=epoch + 1)

    def fit(self, fit: FitResult, model: keras.Model, digest: str) -> None:
        """Learning curves, time, and the finished `model`, whose weights have the digest `digest`."""
        self.run.log_metrics({"fit/seconds": fit.seconds, "best/epoch": fit.best_epoch, **fit.best})
        if self.config.evaluation.figures:
            write_learning_curves(fit.history, self.run.path)
        self.run.set_tags({"weights.sha256": digest})
        # So that `evaluate` and `fit` work on the file at once; other optimizers would treble it by their moments.
        model.compile(
            keras.optimizers.SGD(), keras.losses.BinaryCrossentropy(), metrics=["accuracy", keras.metrics.AUC()]
        )
        self.run.log_model(model)
        trainer = self.config.trainer
        stopped = len(fit.history["loss"]) < min(trainer.epochs, trainer.stop_after or trainer.epochs)
        early = f", after which {trainer.monitor} did not improve" if stopped and not trainer.overfit else ""
        self._print(f"fitted in {fit.seconds:.1f} s; weights of epoch {fit.best_epoch}{early}, sha256 {digest[:12]}")
        if self.config.trainer.overfit:
            self._print(f"one batch learned to 100 % in {len(fit.history['loss'])} epochs: model, labels and loop fit")

    def evaluation(self, evaluation: Evaluation, cost: ModelCost) -> None:
        """Scores with intervals, predictions, figures, the model card and a note for the top of the run's page."""
        self.run.log_metrics(score_metrics(evaluation))
        data = self.config.dataset
        clause = looked_for(data)
        facts = ModelFacts(self.request.name, cost.parameters, cost.flops, self.request.command, data.source, clause)
        write_artifacts(evaluation, self.config, self.dataset, facts, self.run.path)
        text = note(self.config, evaluation, cost=cost, digest=self.dataset.digest, command=self.request.command)
        self.run.path("summary.md").write_text(text)
        self.run.set_tags({"mlflow.note.content": text})
        self.console.print(score_table(evaluation))
        self._print(decision_line(evaluation))
        auc = evaluation.scores["validation"]["roc_auc"]
        if auc.low <= 0.5:
            hint = "aug=none or aug=light, more trainer.epochs, a smaller optimizer.learning_rate, or trainer=overfit"
            self.console.print(
                f"warning: validation shows nothing that was learned (ROC AUC {auc}); try {hint}",
                style="yellow",
                soft_wrap=True,
                highlight=False,
            )

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def open_record(config: Config, request: Request, precision: str, link: RunLink | None = None) -> Iterator[Record]:
    """Open the run with its config and the state of the code; when the body is done, say where the run is found."""
    console = Console(markup=False)
    tags = provenance_tags(request.command, keras.backend.backend(), device_name(), precision)
    with start_run(config, request.name, tags, link) as run:
        run.path("config.yaml").write_text(yaml.safe_dump(with_absolute_paths(plain(config)), sort_keys=False))
        if run.checkpoint:
            keep_request(run.checkpoint, request)
        if changes := uncommitted_changes():
            run.path("uncommitted.patch").write_bytes(changes)
        yield Record(config, run, console, request, link)
    where = f"run {run.id} in experiment {config.tracking.experiment}" if run.id else "not recorded (tracking=off)"
    kept = f"; files in {run.folder}" if config.output else ""
    console.print(f"{request.name}: {where}{kept}", highlight=False, soft_wrap=True)
    alone = link in (None, RunLink()) and not any(each.startswith("tracking") for each in request.overrides)
    if run.id and alone and not config.trainer.overfit:
        use = f"to see it: {shell_command('ui')}; to use it: {shell_command('predict')} PHOTO --model {run.id}"
        console.print(use, highlight=False, soft_wrap=True)
