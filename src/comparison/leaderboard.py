"""From recorded runs to candidates that may be compared: seeds and folds pooled, and only on the same test images."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import Config
from ..config.base import role_of
from ..metrics.intervals import effective_groups, group_codes
from ..metrics.scores import LOG_LOSS_FLOOR
from ..system import progress
from ..tracking.read import RecordedRun

Metric = Literal["accuracy", "balanced_accuracy", "log_loss", "brier"]
LOSSES = ("log_loss", "brier")

GROUP_ORDER = ("model", "aug", "optimizer", "trainer", "dataset")
SEED, FOLD, SPLIT_METHOD = "seed", "dataset.split.fold", "dataset.split.method"
DATA_PATH = "dataset.path"

Floats = NDArray[np.floating]
ReadPredictions = Callable[[RecordedRun], pd.DataFrame | None]


@dataclass(frozen=True)
class Candidate:
    """One config: its `settings` (those that differ between the candidates), runs, and values (seeds, images), of
    which larger are better; the images are those of its test set, in the order common to all. `number` is its row,
    from 1, where the settings of a table are too many to name its candidates by.
    """

    settings: Mapping[str, str]
    runs: Sequence[RecordedRun]
    values: Floats
    number: int | None = None

    @property
    def label(self) -> str:
        """The settings that distinguish it from the others, in a few words."""
        if self.number is not None:
            return f"{self.model} ({self.number})"
        words = [value if key.endswith(".name") else f"{key}={value}" for key, value in self.settings.items()]
        return " ".join(words) or self.model

    @property
    def model(self) -> str:
        """The name of its model, or of its run where that has none."""
        return self.runs[0].params.get("model.name", self.runs[0].name)

    @property
    def described(self) -> str:
        """All of its settings."""
        return " ".join(f"{key.removesuffix('.name')}={value}" for key, value in self.settings.items())

    def mean_metric(self, name: str) -> float:
        """Mean of a recorded metric over the runs; nan where none has it."""
        recorded = [run.metrics[name] for run in self.runs if name in run.metrics]
        return float(np.mean(recorded)) if recorded else float("nan")


@dataclass(frozen=True)
class TestSet:
    """Candidates evaluated on the same test images, which `digest` names; `codes` is the group of each image and
    `balanced_trials` the number of independent images that say as much of balanced accuracy as the groups of its
    classes.
    """

    __test__ = False  # a test set is no test

    digest: str
    codes: NDArray[np.intp]
    candidates: Sequence[Candidate]
    balanced_trials: float


@dataclass(frozen=True)
class TestValues:
    """One run on the test images that `digest` names: the group and the value of each, the larger the better."""

    __test__ = False

    digest: str
    codes: NDArray[np.intp]
    values: Floats


def gather(
    runs: Sequence[RecordedRun], read: ReadPredictions, metric: Metric
) -> tuple[list[TestSet], list[RecordedRun]]:
    """Test sets, the one with most candidates first, and the runs that are excluded, for they have no test predictions.

    Of runs that agree in config, seed and fold the newest counts. Folds of one config and seed are joined into one
    set of predictions; other splits than kfold have none, whatever fold a run records.
    """
    aligned: dict[str, dict[tuple, list[tuple[list[RecordedRun], Floats]]]] = defaultdict(lambda: defaultdict(list))
    codes: dict[str, NDArray[np.intp]] = {}
    trials: dict[str, float] = {}
    unreadable: list[RecordedRun] = []
    align = _Aligner()
    for key, folds in progress(list(_members(runs).items()), "reading runs"):
        tables = [_test_rows(read(run)) for run in folds]
        missing = [run for run, table in zip(folds, tables, strict=True) if table is None]
        unreadable += missing
        found = [table for table in tables if table is not None]
        if not found or missing:
            continue
        predictions = pd.concat(found, ignore_index=True) if len(found) > 1 else found[0]
        digest, order = align(predictions)
        aligned[digest][key[0]].append((folds, _values(predictions, metric)[order]))
        if digest not in codes:
            codes[digest] = group_codes(predictions["group"].to_numpy()[order], len(order))
            trials[digest] = _balanced_trials(codes[digest], predictions["label"].to_numpy()[order])
    sets = [TestSet(digest, codes[digest], _candidates(found), trials[digest]) for digest, found in aligned.items()]
    return sorted(sets, key=lambda found: -len(found.candidates)), unreadable


def values_on_test(predictions: pd.DataFrame | None, metric: Metric) -> TestValues | None:
    """One run's values on its test images, in an order that all runs on these images share; None without any."""
    rows = _test_rows(predictions)
    if rows is None:
        return None
    digest, order = _Aligner()(rows)
    return TestValues(digest, group_codes(rows["group"].to_numpy()[order], len(order)), _values(rows, metric)[order])


def _members(runs: Sequence[RecordedRun]) -> dict[tuple, list[RecordedRun]]:
    """The newest run of each fold, by (config, seed).

    A setting that some runs do not record, because they are older than it, distinguishes configs only if those that do
    differ in it.
    """
    configs = [_settings(run) for run in runs]
    values: dict[str, set[str]] = defaultdict(set)
    for config in configs:
        for key, value in config.items():
            values[key].add(value)
    newest: dict[tuple, dict[str, RecordedRun]] = defaultdict(dict)
    for run, settings in sorted(zip(runs, configs, strict=True), key=lambda pair: pair[0].started):
        differing = tuple(sorted((key, value) for key, value in settings.items() if len(values[key]) > 1))
        fold = run.params.get(FOLD, "") if run.params.get(SPLIT_METHOD) == "kfold" else ""
        newest[differing, run.params.get(SEED, "")][fold] = run
    return {key: list(folds.values()) for key, folds in newest.items()}


def _settings(run: RecordedRun) -> dict[str, str]:
    """The settings that make the run's model what it is; of the data's path only the name."""
    ignored = (SEED, FOLD)
    settings = {key: value for key, value in run.params.items() if key not in ignored and role_of(key, Config) is None}
    if DATA_PATH in settings:
        settings[DATA_PATH] = PurePath(settings[DATA_PATH]).name
    return settings


def _test_rows(predictions: pd.DataFrame | None) -> pd.DataFrame | None:
    if predictions is None:
        return None
    rows = predictions[predictions["split"] == "test"]
    return rows if len(rows) else None


class _Aligner:
    """Finds the order common to all tables of the same test images; most tables come in the same order already."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str, NDArray[np.intp]]] = {}

    def __call__(self, predictions: pd.DataFrame) -> tuple[str, NDArray[np.intp]]:
        images = predictions["sha256"].to_numpy(dtype=object)
        labels = predictions["label"].to_numpy(dtype=np.int8)
        as_stored = hashlib.sha256("".join(images).encode() + labels.tobytes()).digest()
        if as_stored not in self._known:
            order = np.lexsort((labels, images.astype(str)))
            ordered = "".join(images[order]).encode() + labels[order].tobytes()
            self._known[as_stored] = hashlib.sha256(ordered).hexdigest()[:16], order
        return self._known[as_stored]


def _values(predictions: pd.DataFrame, metric: Metric) -> Floats:
    """Each image's part of the mean, larger is better; float32 (images,)."""
    truth = predictions["label"].to_numpy() == 1
    if metric in LOSSES:
        right = np.where(truth, predictions["probability"], 1 - predictions["probability"])
        values = np.log(right.clip(LOG_LOSS_FLOOR)) if metric == "log_loss" else -((1 - right) ** 2)
        return values.astype(np.float32)
    hits = (predictions["predicted"].to_numpy(dtype=bool) == truth).astype(np.float32)
    if metric == "balanced_accuracy":
        # Each image's influence on the mean of both classes' rates, as the size of a class is no part of it.
        classes = truth.astype(int)
        counts = np.bincount(classes, minlength=2)
        rates = np.bincount(classes, weights=hits, minlength=2) / counts
        hits = (rates.mean() + truth.size / (2 * counts[classes]) * (hits - rates[classes])).astype(np.float32)
    return hits


def _balanced_trials(codes: NDArray[np.intp], labels: NDArray) -> float:
    held = [np.unique(codes[labels == label], return_inverse=True)[1] for label in (0, 1)]
    return 4 / sum(1 / effective_groups(own) for own in held) if all(own.size for own in held) else float("nan")


def _candidates(members: Mapping[tuple, list[tuple[list[RecordedRun], Floats]]]) -> list[Candidate]:
    shown = differing_settings([dict(config) for config in members])
    return [
        Candidate(
            settings={key: dict(config).get(key, "") for key in shown},
            runs=[run for runs, _ in seeds for run in runs],
            values=np.stack([values for _, values in seeds]),
        )
        for config, seeds in members.items()
    ]


def differing_settings(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys whose values differ; those that follow from their group's differing `name` are omitted.

    `model.filters` says nothing more where every `model.name` has its own.
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    columns = {key: [config.get(key, "") for config in configs] for key in keys}
    differing = [key for key, values in columns.items() if len(set(values)) > 1]

    def follows(key: str) -> bool:
        name = f"{key.partition('.')[0]}.name"
        if key == name or name not in differing:
            return False
        return len(set(zip(columns[name], columns[key], strict=True))) == len(set(columns[name]))

    return sorted((key for key in differing if not follows(key)), key=_rank)


def _rank(key: str) -> tuple[int, str]:
    group = key.partition(".")[0]
    return (GROUP_ORDER.index(group) if group in GROUP_ORDER else len(GROUP_ORDER), key)
