"""What a run tells while it goes: on the terminal for the person who waits, in the tracking store for later."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import yaml
from rich.console import Console

from ..config import Config, plain
from ..data.prepared import PreparedDataset
from ..evaluation import summary
from ..evaluation.artifacts import write_artifacts
from ..evaluation.card import ModelFacts
from ..evaluation.evaluation import Evaluation, evaluate_model
from ..evaluation.figures import learning_curves
from ..evaluation.leaks import FINGERPRINTS, fitted_on
from ..evaluation.predictions import predictor
from ..evaluation.sheets import validation_grid
from ..models.cost import count_flops
from ..models.weights import weights_digest
from ..reports.data_report import kept_report
from ..reports.figure_style import save_png
from ..tracking.link import RunLink
from ..tracking.provenance import command_line, provenance_tags, uncommitted_changes
from ..tracking.recording import Run, start_run
from .backend import device_name
from .callbacks import Logs
from .fit import Fit

SHOWN_PICTURES = 16


class Record:
    """One run's record. Each method notes one step: prints what a person wants to see of it and stores it."""

    def __init__(
        self, config: Config, run: Run, console: Console, name: str, command: str, link: RunLink | None = None
    ) -> None:
        self.config = config
        self.link = link or RunLink()
        self.run = run
        self.console = console
        self.name = name
        self.command = command
        self.classifier: keras.Model | None = None
        self.samples: tuple[np.ndarray, np.ndarray] | None = None

    def inputs(self, dataset: PreparedDataset) -> None:
        """The resolved config, uncommitted changes of the code, and the data."""
        self.run.path("config.yaml").write_text(yaml.safe_dump(plain(self.config), sort_keys=False))
        if changes := uncommitted_changes():
            self.run.path("uncommitted.patch").write_text(changes)
        shown = dataset.rows("validation")[:SHOWN_PICTURES]
        self.samples = np.asarray(dataset.images[shown]), dataset.table["label"].to_numpy()[shown]
        fitted_on(dataset).to_parquet(self.run.path(FINGERPRINTS), index=False)
        report = kept_report(dataset, self.config.dataset)
        shutil.copyfile(report.page, self.run.path("data_report.html"))
        self.run.log_dataset(dataset, source=self.config.dataset.path or self.config.dataset.source)
        sizes = {split: len(dataset.rows(split)) for split in dataset.split_digests}
        parts = ", ".join(f"{size:,} {split}" for split, size in sizes.items())
        limited = f" (dataset.limit={self.config.dataset.limit})" if self.config.dataset.limit else ""
        rejected = f"{len(dataset.rejected):,} rejected"
        self._say(f"{dataset.name}: {parts} pictures{limited}; {rejected}; digest {dataset.digest}")
        for warning in report.warnings:
            self.console.print(warning, style="yellow", soft_wrap=True)

    def model(self, classifier: keras.Model) -> tuple[int, int]:
        """The model's cost: parameters, and floating-point operations of one picture's forward pass."""
        self.classifier = classifier
        parameters, flops = classifier.count_params(), count_flops(classifier)
        self.run.log_metrics({"model/parameters": parameters, "model/flops": flops})
        self._say(f"{classifier.name}: {parameters:,} parameters, {flops / 1e6:,.1f} MFLOPs a picture")
        return parameters, flops

    def epoch(self, metrics: Logs, epoch: int) -> None:
        """One epoch's metrics, and how sure it is of the same few validation pictures; the step is the epoch."""
        self.link.report(metrics, epoch + 1, self.config.trainer.stop_after or self.config.trainer.epochs)
        self.run.log_metrics({f"fit/{name}": value for name, value in metrics.items()}, step=epoch + 1)
        if self.run.id is not None and self.samples is not None and self.classifier is not None:
            pictures, labels = self.samples
            probabilities = keras.ops.convert_to_numpy(self.classifier(pictures.astype("float32"), training=False))
            self.run.log_image("validation", validation_grid(pictures, labels, probabilities[:, 0]), step=epoch + 1)

    def fitted(self, fit: Fit, final: keras.Model, dataset: PreparedDataset) -> str:
        """Learning curves, time and the model with its best weights. Returns the digest of those weights."""
        kept = {f"best/{name}": values[fit.best_epoch - 1] for name, values in fit.history.items() if "val_" in name}
        self.run.log_metrics({"fit/seconds": fit.seconds, "fit/best_epoch": fit.best_epoch, **kept})
        save_png(learning_curves(fit.history), self.run.path("figures/learning_curves.png"))
        digest = weights_digest(final)
        self.run.set_tags({"weights.sha256": digest})
        self.run.log_model(final, example=dataset.images[:1].astype("float32"))
        self._say(f"fitted in {fit.seconds:.1f} s; weights of epoch {fit.best_epoch}, sha256 {digest[:12]}")
        if self.config.trainer.overfit:
            self._say(f"one batch learned to 100 % in {len(fit.history['loss'])} epochs: model, labels and loop fit")
        return digest

    def evaluate_model(
        self, final: keras.Model, dataset: PreparedDataset, *, parameters: int, flops: int
    ) -> Evaluation:
        """Scores with intervals, predictions and figures on validation and test."""
        evaluation = evaluate_model(predictor(final), dataset, self.config.evaluation, model=final)
        self.run.log_metrics(summary.score_metrics(evaluation))
        facts = ModelFacts(self.name, parameters, flops, self.command)
        write_artifacts(evaluation, self.config, dataset, facts, self.run.path)
        text = summary.note(
            self.config, evaluation, parameters=parameters, flops=flops, digest=dataset.digest, command=self.command
        )
        self.run.path("summary.md").write_text(text)
        self.run.set_tags({"mlflow.note.content": text})
        self.console.print(summary.score_table(evaluation))
        self._say(summary.decision_line(evaluation))
        return evaluation

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def start_record(
    config: Config, overrides: Sequence[str], dataset: PreparedDataset, precision: str, link: RunLink | None = None
) -> Iterator[Record]:
    """Open the run and write down what goes into it; when the body is done, say where the run is found."""
    console = Console()
    name = summary.run_name(config, overrides)
    command = command_line("train", overrides)
    tags = provenance_tags(command, keras.backend.backend(), device_name(), precision)
    with start_run(config, name, tags, link) as run:
        record = Record(config, run, console, name, command, link)
        record.inputs(dataset)
        yield record
    where = f"run {run.id} in experiment {config.tracking.experiment}" if run.id else "run recorded nowhere"
    kept = f"; files in {run.folder}" if config.output else ""
    console.print(f"{name}: {where}{kept}", highlight=False, soft_wrap=True)
