"""A job of a sweep, and what became of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..config import Config
from ..config.identity import Request, config_digest
from ..tracking.run_folder import RunLink

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

Status = Literal["finished", "failed", "killed", "skipped"]


class Trained(Protocol):
    """What a training function gives, as far as a sweep reads it."""

    @property
    def run_id(self) -> str | None: ...

    @property
    def weights_digest(self) -> str: ...

    @property
    def scores(self) -> Mapping[str, float]: ...


Train = Callable[[Config, Request, RunLink], Any]
"""A function like `training.run.train`, which gives a `Trained`. It must stand in a module that a worker can import."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended. `reason` says why it failed; `scores` has `best/val_*` (of the epoch whose weights are restored)
    and `validation/*` and `test/*` (as evaluated). `returned` is Hydra's, of jobs it ran.
    """

    status: Status
    seconds: float = 0.0
    reason: str = ""
    run_id: str | None = None
    weights_digest: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    returned: JobReturn | None = None


@dataclass(frozen=True)
class Job:
    """Something to run in a process of its own; `number` counts from 0 within its sweep.

    `config` is None for a task that is no training of ours; `link` ties a training to its sweep.
    """

    number: int
    config: Config | None
    overrides: Sequence[str]
    link: RunLink = field(default=RunLink(), kw_only=True)

    def title(self, shared: Sequence[str] = ()) -> str:
        """The overrides that are not in `shared`: what tells this job from the others."""
        own = [override for override in self.overrides if override not in shared]
        return shlex.join(own or self.overrides) or "default"

    @property
    def digest(self) -> str:
        """Equal for jobs whose result must be the same; empty without a config."""
        return config_digest(self.config) if self.config else ""

    def run(self) -> Outcome:
        """Do the work, in the worker. Whatever it raises is how it failed."""
        raise NotImplementedError


@dataclass(frozen=True)
class TrainingJob(Job):
    """One call of a training function."""

    train: Train

    def run(self) -> Outcome:
        assert self.config is not None  # noqa: S101 - for the type checker
        request = Request.of("train", self.config, self.overrides)
        return finished(self.train(self.config, request, self.link))


def finished(result: Trained) -> Outcome:
    """The outcome of a training that ran through."""
    return Outcome("finished", run_id=result.run_id, weights_digest=result.weights_digest, scores=dict(result.scores))


def shared_overrides(jobs: Sequence[Job]) -> list[str]:
    """The overrides that all jobs have, in the order of the first."""
    return [each for each in jobs[0].overrides if all(each in job.overrides for job in jobs)] if len(jobs) > 1 else []
