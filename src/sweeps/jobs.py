"""Job of a sweep and its outcome."""

from __future__ import annotations

import shlex
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..config import Config
from ..config.identity import Request, config_digest
from ..errors import UserError, is_of_surroundings
from ..tracking.run_folder import RunLink

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

Status = Literal["finished", "failed", "killed", "skipped"]


class Trained(Protocol):
    """Result of a training function, as far as a sweep reads it."""

    @property
    def run_id(self) -> str | None: ...

    @property
    def weights_digest(self) -> str: ...

    @property
    def scores(self) -> Mapping[str, float]: ...


Train = Callable[[Config, Request, RunLink], Any]
"""A function like `training.run.train`, in a module that a worker can import."""


@dataclass(frozen=True)
class Outcome:
    """The end of a job: `reason` of a failure, `returned` by Hydra where it ran the job. A `transient` failure is one
    of the surroundings (disk, memory, store), after which the same job may succeed.

    `scores` has `best/val_*` (of the epoch with the best weights) and `validation/*` and `test/*` (as evaluated).
    """

    status: Status
    seconds: float = 0.0
    reason: str = ""
    run_id: str | None = None
    weights_digest: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    returned: JobReturn | None = None
    transient: bool = False

    @classmethod
    def of(cls, result: Trained) -> Outcome:
        """Return the outcome of a training that ran through."""
        scores = dict(result.scores)
        return cls("finished", run_id=result.run_id, weights_digest=result.weights_digest, scores=scores)


@dataclass(frozen=True)
class Job:
    """Work for a process of its own; `number` counts from 0 within its sweep.

    `config` is None for a task that is not a training of this project; `link` ties a training to its sweep.
    """

    number: int
    config: Config | None
    request: Request
    link: RunLink = field(default=RunLink(), kw_only=True)

    def title(self, shared: Sequence[str] = ()) -> str:
        """Return the overrides that tell this job from the others: those not in `shared`."""
        own = [override for override in self.request.overrides if override not in shared]
        return shlex.join(own or self.request.overrides) or "default"

    @property
    def digest(self) -> str:
        """Digest of the config, equal for jobs with equal results; empty without a config."""
        return config_digest(self.config) if self.config else ""

    def run(self) -> Outcome:
        """Do the work, in the worker. Any exception is a failure of the job."""
        raise NotImplementedError


@dataclass(frozen=True)
class TrainingJob(Job):
    """One call of a training function."""

    train: Train

    def run(self) -> Outcome:
        assert self.config is not None  # noqa: S101 - for the type checker
        return Outcome.of(self.train(self.config, self.request, self.link))


def execute(job: Job) -> Outcome:
    """Run `job` in this process and time it. A defect prints its traceback and gives no reason."""
    start = time.perf_counter()
    try:
        outcome = job.run()
    except UserError as error:
        outcome = Outcome("failed", reason=str(error), transient=is_of_surroundings(error))
    except KeyboardInterrupt:
        outcome = Outcome("killed", reason="interrupted")
    except Exception as error:  # noqa: BLE001 - a defect of one job ends that job alone
        traceback.print_exc()
        outcome = Outcome("failed", transient=is_of_surroundings(error))
    return replace(outcome, seconds=time.perf_counter() - start)


def shared_overrides(jobs: Sequence[Job]) -> list[str]:
    """Return the overrides that all of several jobs have, in the order of the first."""
    if len(jobs) < 2:
        return []
    return [each for each in jobs[0].request.overrides if all(each in job.request.overrides for job in jobs)]
