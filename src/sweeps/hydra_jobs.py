"""Jobs that Hydra composes: made and checked by a launcher, run in the worker by Hydra's own `run_job`."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ..cli.composition import plain_tree
from ..cli.hydra_command import HydraCommand, named
from ..config import Config, to_config
from ..config.base import LAUNCH, without_roles
from ..config.identity import Request
from ..errors import ConfigError, SweepError, UserError
from ..tracking.run_folder import RunLink
from .jobs import Job, Outcome, finished

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction


@dataclass
class LinkedTask:
    """A training as Hydra calls it in a worker: with the job's config, as part of a sweep.

    It returns the value of `objective`; `outcome` says more, afterwards. `name` is the run's.
    """

    train: Callable[..., Any]
    link: RunLink
    name: str | None = None
    outcome: Outcome | None = None

    def __call__(self, tree: DictConfig) -> float | None:
        config = to_config(plain_tree(tree), Config)
        config = replace(config, name=config.name or self.name)
        self.outcome = finished(
            self.train(
                config, Request.of("train", config, own_overrides(HydraConfig.get().overrides.task)), link=self.link
            )
        )
        return self.outcome.scores.get(config.objective)


@dataclass(frozen=True)
class HydraJob(Job):
    """A job with its composed `tree`; `given` are all its overrides, Hydra's too.

    `payload` is what else `run_job` needs, pickled for another process.
    """

    given: Sequence[str]
    tree: DictConfig
    payload: bytes

    def run(self) -> Outcome:
        task, context, singletons = pickle.loads(self.payload)  # noqa: S301 - from the launcher
        singletons["instances"][Plugins] = Plugins.instance()  # found anew, its classes would be others than the job's
        Singleton.set_state(singletons)
        setup_globals()
        if isinstance(task, HydraCommand) and self.config is not None:
            task = LinkedTask(named(task.function), self.link, self.config.name)
        returned = run_job(
            task_function=task,
            config=self.tree,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=context,
        )
        if returned.status is JobStatus.COMPLETED:
            outcome = (isinstance(task, LinkedTask) and task.outcome) or Outcome("finished")
            return replace(outcome, returned=returned)
        error = returned._return_value
        if not isinstance(error, UserError):
            traceback.print_exception(error)
        returned.return_value = SweepError(f"{type(error).__name__}: {error}")  # what it was may not be picklable
        return Outcome("failed", reason=str(error) if isinstance(error, UserError) else "", returned=returned)


@dataclass(frozen=True)
class Launch:
    """What Hydra gives a launcher to work with."""

    context: HydraContext
    task: TaskFunction
    config: DictConfig

    def jobs(self, overrides: Sequence[Sequence[str]], first: int) -> list[HydraJob]:
        """The jobs that `overrides` make, numbered from `first`, every config checked. Raises ConfigError."""
        if not overrides:
            raise ConfigError("no jobs: one of the lists of values is empty")
        payload = _pickled((self.task, self.context, Singleton.get_state()))
        jobs = [self._job(number, given, payload) for number, given in enumerate(overrides, first)]
        _check_together([job.config for job in jobs if job.config is not None])
        if isinstance(self.task, HydraCommand):
            self.task.begun = True
        return jobs

    def _job(self, number: int, overrides: Sequence[str], payload: bytes) -> HydraJob:
        tree = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(tree):
            tree.hydra.job.id = tree.hydra.job.num = number
        config = None
        if isinstance(self.task, HydraCommand) and self.task.schema is Config:
            config = to_config(self._values(tree), Config)
        return HydraJob(number, config, own_overrides(overrides), list(overrides), tree, payload)

    def _values(self, tree: DictConfig) -> dict[str, Any]:
        """The values of a job, with what `run_job` would make of `${hydra:...}`."""
        singleton = HydraConfig.instance()
        before = singleton.cfg
        try:
            singleton.set_config(tree)
            folder = os.path.join(str(tree.hydra.sweep.dir), str(tree.hydra.sweep.subdir))
            with read_write(tree.hydra.runtime), open_dict(tree.hydra.runtime):
                tree.hydra.runtime.output_dir = os.path.abspath(folder)
            singleton.set_config(tree)
            return plain_tree(own_values(tree))
        finally:
            singleton.cfg = before


def own_values(tree: DictConfig) -> DictConfig:
    """The tree without Hydra's own node."""
    return OmegaConf.masked_copy(tree, [str(key) for key in tree if key != "hydra"])


def own_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides that make a job what it is."""
    return without_roles(overrides, Config, LAUNCH)


def returned(job: HydraJob, outcome: Outcome, failure: str) -> JobReturn:
    """What Hydra's sweeper gets for a job; one that failed raises `failure` when its value is asked for."""
    result = outcome.returned or JobReturn(
        overrides=list(job.overrides), cfg=own_values(job.tree), hydra_cfg=OmegaConf.masked_copy(job.tree, ["hydra"])
    )
    if outcome.status not in ("finished", "skipped"):
        result.status, result.return_value = JobStatus.FAILED, SweepError(failure)
    elif outcome.returned is None:
        result.status = JobStatus.COMPLETED
        result.return_value = outcome.scores.get(job.config.objective) if job.config else None
    return result


def _check_together(configs: Sequence[Config]) -> None:
    """Raise ConfigError for jobs that are no sweep: of several stores, or one run."""
    if len({repr((config.sweep, config.tracking, config.cluster)) for config in configs}) > 1:
        raise ConfigError("sweep, tracking and cluster: must be the same for all jobs of a sweep")
    for config in configs:
        if config.resume not in (None, "auto"):
            raise ConfigError(f"resume={config.resume}: is one run; with -m use resume=auto")


def _pickled(task: Mapping[str, Any] | tuple[Any, ...]) -> bytes:
    """Pickled by cloudpickle, which also takes what is defined in a notebook or a function."""
    import cloudpickle

    return cloudpickle.dumps(task)  # type: ignore[no-any-return]
