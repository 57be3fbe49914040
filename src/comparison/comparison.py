"""Comparison of several candidates, and the bias of picking the best of them on the same test images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from ..errors import TrackingError
from ..evaluation.robustness import mean_corruption_error
from ..tracking.read import TIE_BY, RecordedRun
from ..tracking.store import DATA_TAG
from .leaderboard import LOSSES, Candidate, Metric, ReadPredictions, TestSet, gather
from .paired import Sample, compare_pairs

DRAWS = 4000

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Selection:
    """`level` is that of the lower end of the best one's interval at which no choice can flatter it, 0.975 for a
    candidate alone; `optimism` is by how much its mean is too good if all candidates are equally good.
    """

    level: float
    optimism: float

    @classmethod
    def of(cls, covariance: Floats) -> Selection:
        """From the covariance (candidates, candidates) of the candidates' means.

        At that level the lower ends of all intervals hold at once, so the one that is picked holds whatever picked it
        (simultaneous intervals from the largest of correlated normals: Hothorn, Bretz and Westfall 2008, doi
        10.1002/bimj.200810425). The largest is sampled, from a fixed seed.
        """
        error = np.sqrt(np.diag(covariance))
        values, vectors = np.linalg.eigh(covariance)
        normal = np.random.default_rng(0).standard_normal((DRAWS, error.size))
        drawn = normal @ (vectors * np.sqrt(values.clip(0))).T
        standardized = np.divide(drawn, error, out=np.zeros_like(drawn), where=error > 0)
        level = float(ndtr(np.quantile(standardized.max(axis=1), 0.975)))
        return cls(max(level, 0.975), max(float(drawn.max(axis=1).mean()), 0.0))


def picked_on_validation(candidates: Sequence[Candidate], metric: Metric) -> int | None:
    """The candidate of the best mean validation score; None unless all recorded one, on the same validation images.

    Its test score is flattered by no choice, as no test image had a part in it: of equals it is the one of the lowest
    validation log loss, then the one that was begun first, not the first in order of their test scores.
    """
    images = {frozenset(run.tags.get(f"{DATA_TAG}.validation") for run in found.runs) for found in candidates}
    scores = np.array([found.mean_metric(f"validation/{metric}") for found in candidates])
    if len(images) > 1 or not np.isfinite(scores).all():
        return None
    losses = np.array([found.mean_metric(TIE_BY) for found in candidates])
    begun = np.array([min(run.started for run in found.runs) for found in candidates])
    return int(np.lexsort((begun, losses, scores if metric in LOSSES else -scores))[0])


ReadRobustness = Callable[[RecordedRun], pd.DataFrame | None]

BYTES_PER_WEIGHT = 4
LONGEST_LABEL = 80  # characters
BASELINE = "baseline"
CORRUPTED = "test/corrupted_accuracy"
COSTS = {
    "seconds": "fit/seconds",
    "parameters": "model/parameters",
    "flops": "model/flops",
    "latency_ms": "model/latency_ms",
}


@dataclass(frozen=True)
class Ranking:
    """Candidates on one test set, best first. `board` has one row per candidate, in the order of `candidates`; `pairs`
    counts `first` and `second` from 0 in that order, so `first` always stands above `second`.

    The first row's interval is corrected for being picked on these images, where it would be too good by `optimism`
    if all were equally good. `picked` is the place of the candidate that validation picks, None where it is not known,
    and `picked_interval` the low and high end of its test score, which needs no correction.
    """

    test_set: TestSet
    candidates: Sequence[Candidate]
    board: pd.DataFrame
    pairs: pd.DataFrame
    optimism: float = 0.0
    picked: int | None = None
    picked_interval: tuple[float, float] = (float("nan"), float("nan"))

    @property
    def groups(self) -> int:
        """The number of groups of near-duplicates among the test images."""
        return int(self.test_set.codes.max()) + 1

    @property
    def one_seed_each(self) -> bool:
        """Return whether no config was trained more than once: verdicts are then about these trained models alone."""
        return bool((self.board["seeds"] == 1).all())

    @property
    def dataset(self) -> str:
        """The name of the data set that the test images are from."""
        names = {run.params.get("dataset.name", "") for candidate in self.candidates for run in candidate.runs}
        return ", ".join(sorted(names - {""})) or "unnamed data"


@dataclass(frozen=True)
class Comparison:
    """Rankings by test set, which are never mixed; `excluded` are runs without test predictions."""

    metric: Metric
    rankings: Sequence[Ranking]
    excluded: Sequence[RecordedRun]

    def _repr_html_(self) -> str:
        """Show the leaderboards in a notebook."""
        return "".join(ranking.board.to_html(index=False) for ranking in self.rankings)


def compare(
    runs: Sequence[RecordedRun],
    read: ReadPredictions,
    metric: Metric = "accuracy",
    *,
    resamples: int = 2000,
    read_robustness: ReadRobustness | None = None,
) -> Comparison:
    """Compare `runs`, whose predictions `read` gives. Raises TrackingError where no run has test predictions.

    `read_robustness` gives a run's accuracies under corruption; from them the board's mean corruption error `mce`,
    relative to the candidate whose `model.name` is baseline, over the corruptions and severities that both were tested
    at.
    """
    test_sets, excluded = gather(runs, read, metric)
    if not test_sets:
        raise TrackingError(f"none of the {len(runs)} runs found has test predictions to compare")
    rankings = [_rank(test_set, metric, resamples) for test_set in test_sets]
    for ranking in rankings:
        ranking.board["mce"] = _corruption_errors(ranking.candidates, read_robustness)
    return Comparison(metric, rankings, excluded)


def _corruption_errors(candidates: Sequence[Candidate], read: ReadRobustness | None) -> list[float]:
    """Mean corruption error of each candidate; nan where it, or every baseline, was not tested for robustness, or at
    other severities only.
    """
    tables = [_mean_robustness(candidate, read) if read else None for candidate in candidates]
    named = [candidate.runs[0].params.get("model.name") for candidate in candidates]
    baseline = next(
        (table for name, table in zip(named, tables, strict=True) if name == BASELINE and table is not None), None
    )
    if baseline is None:
        return [float("nan")] * len(candidates)
    return [float("nan") if table is None else mean_corruption_error(table, baseline) for table in tables]


def _mean_robustness(candidate: Candidate, read: ReadRobustness) -> pd.DataFrame | None:
    """Accuracy by corruption and severity, the mean over the runs that recorded it."""
    tested = [read(run) for run in candidate.runs if CORRUPTED in run.metrics]
    found = [table for table in tested if table is not None]
    if not found:
        return None
    return pd.concat(found).groupby(["corruption", "severity"])["accuracy"].mean().reset_index()


def _numbered(candidates: list[Candidate]) -> list[Candidate]:
    """The candidates, told apart by their rows where their settings would fill lines."""
    if max(len(candidate.label) for candidate in candidates) <= LONGEST_LABEL:
        return candidates
    return [replace(candidate, number=number) for number, candidate in enumerate(candidates, start=1)]


def _rank(test_set: TestSet, metric: Metric, resamples: int) -> Ranking:
    order = np.argsort([-candidate.values.mean() for candidate in test_set.candidates], kind="stable")
    candidates = _numbered([test_set.candidates[place] for place in order])
    members = [candidate.values for candidate in candidates]
    exact = metric == "accuracy"
    shares = metric not in LOSSES
    trials = test_set.balanced_trials if metric == "balanced_accuracy" else None
    sample = Sample.of(members, test_set.codes, resamples, 0, trials)
    low, high = sample.intervals(proportions=shares)
    sign = -1 if metric in LOSSES else 1
    picked = picked_on_validation(candidates, metric)
    own = (float("nan"),) * 2 if picked is None else tuple(sorted((sign * low[picked], sign * high[picked])))
    selection = Selection.of(sample.covariance)
    low[0] = sample.intervals(proportions=shares, level=selection.level)[0][0]
    board = pd.DataFrame([_costs(candidate) for candidate in candidates])
    board.insert(0, "seeds", [len(values) for values in members])
    ends = (low, high) if sign > 0 else (-high, -low)
    for place, (name, values) in enumerate((("mean", sign * sample.means), ("low", ends[0]), ("high", ends[1]))):
        board.insert(place + 1, name, values)
    pairs = compare_pairs(members, test_set.codes, exact=exact, shares=shares, resamples=resamples)
    return Ranking(test_set, candidates, board, pairs, selection.optimism, picked, (own[0], own[1]))


def _costs(candidate: Candidate) -> dict[str, float]:
    costs = {name: candidate.mean_metric(key) for name, key in COSTS.items()}
    return costs | {"megabytes": costs["parameters"] * BYTES_PER_WEIGHT / 1e6}
