"""Earlier models that a run starts from.

What they were fitted on, this run has seen as well: it is neither validated nor tested on it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..config import Config, ModelConfig, TrackingConfig, plain
from ..data.prepared import PreparedDataset
from ..errors import ConfigError, DataError, TrackingError
from ..evaluation.leaks import LEAKED, without_inherited
from ..evaluation.recorded import RecordedModel, open_recorded

if TYPE_CHECKING:
    import keras

WEIGHT_FILES = (".keras", ".h5", ".pth")
_FREE = ("name", "weights", "dropout", "spatial_dropout")
"""Values of a model that another one with its weights may have otherwise."""


@dataclass(frozen=True)
class Parents:
    """Earlier models that a run starts from: the recorded `start`, the `file` of its first weights (None: drawn), and
    the fingerprints of the images that `start` has `seen`, with their `split`.
    """

    start: RecordedModel | None
    file: Path | None
    seen: pd.DataFrame | None

    @property
    def tags(self) -> dict[str, str]:
        """The run behind a name that may move, such as an alias."""
        return {"weights.from": self.start.run.id if self.start.run else self.start.name} if self.start else {}

    def exclude_seen(self, dataset: PreparedDataset, config: Config) -> PreparedDataset:
        """Return `dataset` with validation and test free of images that the model was fitted on, and say so.

        Raises DataError where that leaves nothing to validate or test on.
        """
        if self.seen is None:
            return dataset
        kept = without_inherited(dataset, self.seen, config.dataset)
        if count := int((kept.table["split"] == LEAKED).sum()):
            print(
                f"{count:,} images of validation and test, or copies of them, were seen by the model that this run "
                "starts from; excluded",
                flush=True,
            )
        for split in ("validation", "test"):
            if len(np.unique(kept.labels(split))) < 2:
                raise DataError(
                    f"the model that this run starts from was fitted on the {split} split; take other data, or the "
                    "split that it was trained with"
                )
        return kept

    def initialize(self, classifier: keras.Model, config: Config) -> None:
        """Give `classifier` its first weights. Raises ConfigError where they are those of another network."""
        if self.file is not None:
            from ..models.weights import load_weights

            load_weights(classifier, self.file, f"model.weights={config.model.weights}")


def find_parents(config: Config, tracking: TrackingConfig | None = None) -> Parents:
    """Find and check what `model.weights` names, a run in the store of `tracking` (None: the config's own).

    Raises ConfigError where it is not there, or of another network.
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
        try:
            start = open_recorded(store, weights)
        except TrackingError as error:
            raise ConfigError(f"model.weights={weights}: {str(error).removeprefix(f'run={weights}: ')}") from None
        _check_same_network(start, config)
        file = start.file
    return Parents(start, file, start.fitted_on.drop(columns="inherited") if start else None)


def _check_same_network(start: RecordedModel, config: Config) -> None:
    def values(model: ModelConfig, image_size: int) -> dict[str, object]:
        size = {"dataset.image_size": image_size} if model.head == "flatten" else {}
        return {f"model.{key}": value for key, value in plain(model).items() if key not in _FREE} | size

    there = values(start.config.model, start.config.dataset.image_size)
    here = values(config.model, config.dataset.image_size)
    differing = [key for key in there.keys() | here.keys() if there.get(key) != here.get(key)]
    if differing:
        told = "; ".join(f"{key} is {there.get(key)} there, {here.get(key)} here" for key in sorted(differing)[:3])
        raise ConfigError(f"model.weights={config.model.weights}: those of another network: {told}")
