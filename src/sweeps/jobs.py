"""A job of a sweep, and what became of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ..config import Config
from ..evaluation.summary import score_metrics
from ..tracking.recording import RunLink

if TYPE_CHECKING:
    from ..train import TrainResult

Status = Literal["finished", "failed", "killed", "skipped"]


@dataclass(frozen=True)
class Job:
    """One call of `train(config, overrides, link)`; `number` counts from 0 within its sweep."""

    number: int
    config: Config
    overrides: Sequence[str]
    link: RunLink = field(default_factory=RunLink)

    def title(self, shared: Sequence[str] = ()) -> str:
        """The overrides that are not in `shared`: what tells this job from the others."""
        own = [override for override in self.overrides if override not in shared]
        return shlex.join(own or self.overrides) or "default"


@dataclass(frozen=True)
class Outcome:
    """How a job ended. `reason` says why it failed; `scores` has `best/val_*` (of the epoch that is kept) and
    `validation/*` and `test/*` (as evaluated), named as in MLflow.
    """

    status: Status
    seconds: float = 0.0
    reason: str = ""
    run_id: str | None = None
    weights_digest: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)


def finished(result: TrainResult, seconds: float) -> Outcome:
    """The outcome of a job that ran through."""
    history, best = result.fit.history, result.fit.best_epoch - 1
    scores = {f"best/{name}": values[best] for name, values in history.items() if name.startswith("val_")}
    if result.evaluation is not None:
        scores |= score_metrics(result.evaluation)
    return Outcome("finished", seconds, run_id=result.run_id, weights_digest=result.weights_digest, scores=scores)


def shared_overrides(jobs: Sequence[Job]) -> list[str]:
    """The overrides that all jobs have, in the order of the first."""
    return [each for each in jobs[0].overrides if all(each in job.overrides for job in jobs)] if len(jobs) > 1 else []
