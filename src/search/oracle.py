"""keras-tuner's search algorithms driven by hand, with a journal from which a killed search is replayed.

An oracle is a function of its seed and of the trials begun and ended in their order, so the journal alone restores it;
keras-tuner's own files do not (a grid search, for one, forgets its place in them).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..config import TunerConfig
from ..errors import SweepError
from ..system import append_entry, read_entries

if TYPE_CHECKING:
    import keras_tuner

NEVER = 10**9
TrialStatus = Literal["completed", "failed", "rejected"]


@dataclass(frozen=True)
class Trial:
    """One set of values. `epochs` and `continues` (an earlier trial's id) are hyperband's, else None."""

    id: str
    values: Mapping[str, Any]
    epochs: int | None = None
    continues: str | None = None


@dataclass(frozen=True)
class Result:
    """Result of a trial; `score` is the objective's value if it completed."""

    status: TrialStatus
    score: float | None = None
    reason: str = ""
    seconds: float = 0.0
    run_id: str | None = None
    weights_digest: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


def minimized(objective: str) -> bool:
    """Return whether lower values of a metric are better."""
    return objective.endswith(("loss", "brier", "calibration_error", "_error"))


def create_oracle(
    config: TunerConfig, parameters: keras_tuner.HyperParameters, epochs: int
) -> keras_tuner.engine.oracle.Oracle:
    """Return the oracle that `config` names, without limits: the search counts budgets and failures."""
    import keras_tuner
    from keras_tuner import oracles

    common = {
        "objective": keras_tuner.Objective(config.objective, "min" if minimized(config.objective) else "max"),
        "hyperparameters": parameters,
        "seed": config.seed,
        "max_consecutive_failed_trials": NEVER,
    }
    if config.name == "hyperband":
        rounds = {"max_epochs": epochs, "factor": config.factor, "hyperband_iterations": NEVER}
        return oracles.HyperbandOracle(**rounds, **common)
    if config.name == "grid":
        return oracles.GridSearchOracle(max_trials=None, **common)
    kind = oracles.RandomSearchOracle if config.name == "random" else oracles.BayesianOptimizationOracle
    return kind(max_trials=NEVER, **common)


class Search:
    """An oracle and its journal. Reading the journal back brings the search to where it was.

    `results` are by trial id, `open` are trials begun and not ended, which a resumed search has to run again. Those
    that failed by their surroundings are open too; `deferred` has why.
    """

    def __init__(self, oracle: keras_tuner.engine.oracle.Oracle, journal: Path) -> None:
        self.oracle, self.journal = oracle, journal
        oracle._display.verbose = 0
        self.scratch = tempfile.TemporaryDirectory(prefix="happy-sad-oracle-")
        oracle._set_project_dir(self.scratch.name, "oracle")  # it insists on writing files, which nothing reads
        self.results: dict[str, Result] = {}
        self.trials: dict[str, Trial] = {}
        self.deferred: dict[str, Result] = {}
        self.exhausted = False
        for event in read_entries(journal):
            self._replay(event)

    @property
    def open(self) -> list[Trial]:
        """Return the trials that were begun and have not ended."""
        return [trial for key, trial in self.trials.items() if key not in self.results]

    def next(self) -> Trial | None:
        """Return a new trial, or None until others have ended (or for good: `exhausted`)."""
        trial = self._create()
        self._write({"begin": trial and asdict(trial)})  # an oracle's seed moves on with a vain request too
        return trial

    def end(self, trial: Trial, result: Result) -> None:
        """Report the result of a trial to the oracle."""
        self._write({"end": trial.id, "result": asdict(result)})
        self._end(trial, result)

    def _create(self) -> Trial | None:
        created = self.oracle.create_trial(f"worker-{len(self.trials)}")
        self.exhausted = created.status == "STOPPED"
        if created.status != "RUNNING":
            return None
        values = dict(created.hyperparameters.values)
        own = {key: value for key, value in values.items() if not key.startswith("tuner/")}
        trial = Trial(created.trial_id, own, values.get("tuner/epochs"), values.get("tuner/trial_id"))
        self.trials[trial.id] = trial
        return trial

    def _end(self, trial: Trial, result: Result) -> None:
        record, objective = self.oracle.trials[trial.id], self.oracle.objective
        score = result.score
        if score is None and trial.epochs is not None:
            # Hyperband's rounds wait for ever for a trial that failed; one with the worst score just goes no further.
            score = math.inf if objective.direction == "min" else -math.inf
        if score is not None:
            self.oracle.update_trial(trial.id, {objective.name: score})
        record.status = "FAILED" if score is None else "COMPLETED"
        self.oracle.end_trial(record)
        self.results[trial.id] = result

    def _replay(self, event: Mapping[str, Any]) -> None:
        if "begin" in event:
            if self._create() != (event["begin"] and Trial(**event["begin"])):
                raise SweepError(f"{self.journal}: was written by other versions or another space; remove it")
        else:
            self._end(self.trials[event["end"]], Result(**event["result"]))

    def _write(self, event: Mapping[str, Any]) -> None:
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        append_entry(self.journal, event)
