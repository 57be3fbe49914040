"""The models that a run comes from: the one whose weights it starts with, and its teachers.

What they were fitted on, this run has seen as well: it is neither validated nor tested on it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import Config, ModelConfig, TrackingConfig, plain
from ..data.prepared import PreparedDataset, prepare
from ..errors import ConfigError, DataError, TrackingError
from ..evaluation.artifacts import PREDICTIONS
from ..evaluation.leaks import LEAKED, without_inherited
from ..evaluation.recorded import RecordedModel, open_recorded
from ..metrics.log_odds import apply_temperature
from ..tracking.read import read_table

if TYPE_CHECKING:
    import keras

WEIGHT_FILES = (".keras", ".h5", ".pth")
_FREE = ("name", "weights", "dropout", "spatial_dropout")
"""Values of a model that another one with its weights may have otherwise."""


@dataclass(frozen=True)
class Origins:
    """`start` is the recorded model whose weights a run starts with, `file` where its first weights are (None: they are
    drawn), `seen` the fingerprints of what start and teachers were fitted on, with their `split`.
    """

    start: RecordedModel | None
    file: Path | None
    teachers: Sequence[RecordedModel]
    seen: pd.DataFrame | None

    @property
    def tags(self) -> dict[str, str]:
        """The runs behind names that may move, such as an alias."""
        found = {"weights.from": [self.start] if self.start else [], "teachers": self.teachers}
        return {
            name: ", ".join(model.run.id if model.run else model.name for model in models)
            for name, models in found.items()
            if models
        }

    def without_seen(self, dataset: PreparedDataset, config: Config) -> PreparedDataset:
        """`dataset` without what the models were fitted on in validation and test, as one line says.

        Raises DataError where that leaves nothing to validate or test on.
        """
        if self.seen is None:
            return dataset
        kept = without_inherited(dataset, self.seen, config.dataset)
        if count := int((kept.table["split"] == LEAKED).sum()):
            print(
                f"{count:,} images of validation and test, or copies of them, were seen by the models that this run "
                "comes from; left out",
                flush=True,
            )
        for split in ("validation", "test"):
            if len(np.unique(kept.labels(split))) < 2:
                raise DataError(
                    f"the models that this run comes from were fitted on the {split} split; take other data, or the "
                    "split that they were trained with"
                )
        return kept

    def initialize(self, classifier: keras.Model, config: Config) -> None:
        """Give `classifier` its first weights. Raises ConfigError where they are those of another network."""
        if self.file is not None:
            from ..models.weights import load_weights

            load_weights(classifier, self.file, f"model.weights={config.model.weights}")

    def targets(self, dataset: PreparedDataset, config: Config) -> NDArray[np.float32]:
        """What each row's probability is fitted to, (rows,): its target, of training images mixed with the mean of
        the teachers' probabilities (distillation: Hinton, Vinyals and Dean 2015, arXiv 1503.02531). A teacher that
        cannot prepare an image, as one that judges faces an image without, teaches its target.
        """
        targets = dataset.targets
        if not self.teachers:
            return targets
        rows, weight = dataset.rows("train"), config.trainer.teacher_weight
        said = [_probabilities(teacher, dataset, rows, config) for teacher in self.teachers]
        taught = np.mean([np.where(np.isnan(each), targets[rows], each) for each in said], axis=0)
        targets[rows] = weight * taught + (1 - weight) * targets[rows]
        return targets


def find_origins(config: Config, tracking: TrackingConfig | None = None) -> Origins:
    """The models that `config` names, found and checked before any work, runs in the store of `tracking` (None: its
    own). Raises ConfigError.
    """
    store = tracking or config.tracking
    weights, start, file = config.model.weights, None, None
    if weights == "imagenet":
        from .backend import start_backend

        start_backend()  # quietly: the backbones import Keras
        from ..models.backbones import imagenet_weights

        file = imagenet_weights(config.model.architecture)
    elif weights is not None and Path(os.path.expanduser(weights)).is_file():
        file = Path(os.path.expanduser(weights))
        if file.suffix not in WEIGHT_FILES:
            *rest, last = WEIGHT_FILES
            kinds = f"{', '.join(rest)} or {last}"
            raise ConfigError(f"model.weights={weights}: accepts a file {kinds}, a run or a folder")
    elif weights is not None:
        start = _open("model.weights", weights, store)
        _check_same_network(start, config)
        file = start.file
    teachers = [_open("trainer.teachers", name, store) for name in config.trainer.teachers]
    models = [(name, model) for name, model in ((weights, start), *zip(config.trainer.teachers, teachers, strict=True))]
    seen = [_seen(str(name), model) for name, model in models if model is not None]
    return Origins(start, file, teachers, pd.concat(seen, ignore_index=True) if seen else None)


def _open(key: str, name: str, tracking: TrackingConfig) -> RecordedModel:
    try:
        return open_recorded(tracking, name)
    except TrackingError as error:
        raise ConfigError(f"{key}={name}: {str(error).removeprefix(f'run={name}: ')}") from None


def _check_same_network(start: RecordedModel, config: Config) -> None:
    def described(model: ModelConfig, image_size: int) -> dict[str, object]:
        size = {"dataset.image_size": image_size} if model.head == "flatten" else {}
        return {f"model.{key}": value for key, value in plain(model).items() if key not in _FREE} | size

    there = described(start.config.model, start.config.dataset.image_size)
    here = described(config.model, config.dataset.image_size)
    differing = [key for key in there.keys() | here.keys() if there.get(key) != here.get(key)]
    if differing:
        told = "; ".join(f"{key} is {there.get(key)} there, {here.get(key)} here" for key in sorted(differing)[:3])
        raise ConfigError(f"model.weights={config.model.weights}: those of another network: {told}")


def _seen(name: str, model: RecordedModel) -> pd.DataFrame:
    """What a model was fitted on, with its splits: those of older records are known from their predictions."""
    if "split" in model.fitted_on:
        return model.fitted_on.drop(columns="inherited")
    file = Path(os.path.expanduser(name)) / PREDICTIONS
    predictions = read_table(model.run, PREDICTIONS) if model.run else pd.read_parquet(file) if file.exists() else None
    validated: Sequence[str] = []
    if predictions is not None:
        validated = predictions.loc[predictions["split"] == "validation", "sha256"].tolist()
    return model.fitted_on.assign(split=np.where(model.fitted_on["sha256"].isin(validated), "validation", "train"))


def _probabilities(
    teacher: RecordedModel, dataset: PreparedDataset, rows: NDArray[np.int64], config: Config
) -> NDArray[np.float64]:
    """The teacher's calibrated probabilities of `rows`, prepared as it wants them; NaN for those that it rejects."""
    from ..models.predictions import predict_rows, predictor

    own = teacher.config.dataset
    if (own.image_size, own.fit) != (config.dataset.image_size, config.dataset.fit):
        wanted = pd.MultiIndex.from_frame(dataset.table.iloc[rows][["source", "path"]])
        dataset = prepare(replace(config.dataset, image_size=own.image_size, fit=own.fit))
        rows = pd.MultiIndex.from_frame(dataset.table[["source", "path"]]).get_indexer(wanted)
    known = rows >= 0
    probabilities = np.full(len(rows), np.nan)
    probabilities[known] = predict_rows(predictor(teacher.load()), dataset, rows[known])
    probabilities[known] = apply_temperature(probabilities[known], teacher.decision.temperature)
    return probabilities
