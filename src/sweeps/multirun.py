"""Multirun: `python -m src.train -m ...`, each batch of a sweeper's jobs checked, run and recorded below one parent."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from rich.console import Console

from ..cli.composition import plain_tree
from ..cli.hydra_command import HydraCommand, named
from ..config import Config, SweepConfig, TrackingConfig, to_config
from ..config.base import LAUNCH, without_roles
from ..config.identity import Request, command_line
from ..errors import ConfigError, SweepError, UserError
from ..tracking.read import find_runs
from ..tracking.resuming import under_way
from ..tracking.run_folder import RunLink
from ..tracking.store import DIGEST_TAG, open_store
from .jobs import Job, Outcome, shared_overrides
from .parent import Parent, open_parent, report
from .pool import GRACE_SECONDS
from .runner import Runner, SweepProgress, worker_pool

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext, TaskFunction

Outcomes = Mapping[int, Outcome]
Execute = Callable[["Sweep", Sequence["HydraJob"]], Outcomes]


@dataclass
class LinkedTask:
    """A training as Hydra calls it in a worker: with the job's config, as part of a sweep.

    It returns the value of `objective` and keeps the `outcome`. Without a `request`, Hydra's overrides make one.
    """

    train: Callable[..., Any]
    link: RunLink
    request: Request | None = None
    outcome: Outcome | None = None

    def __call__(self, tree: DictConfig) -> float | None:
        config = to_config(plain_tree(tree), Config)
        request = self.request or _request(config, HydraConfig.get().overrides.task)
        self.outcome = Outcome.of(self.train(config, request, link=self.link))
        return self.outcome.scores.get(config.objective)


@dataclass(frozen=True)
class HydraJob(Job):
    """A job with its composed `tree`, run in the worker by Hydra's own `run_job`.

    `overrides` are all of its overrides, Hydra's too; `payload` is what else `run_job` needs, pickled.
    """

    overrides: Sequence[str]
    tree: DictConfig
    payload: bytes

    def run(self) -> Outcome:
        task, context, singletons = pickle.loads(self.payload)  # noqa: S301 - from the launcher
        singletons["instances"][Plugins] = Plugins.instance()  # found anew, its classes would be others than the job's
        Singleton.set_state(singletons)
        setup_globals()
        if isinstance(task, HydraCommand) and self.config is not None:
            task = LinkedTask(named(task.function), self.link, self.request)
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
        returned.return_value = SweepError(f"{type(error).__name__}: {error}")  # the error itself may not be picklable
        return Outcome("failed", reason=str(error) if isinstance(error, UserError) else "", returned=returned)

    def job_return(self, outcome: Outcome, failure: str) -> JobReturn:
        """Return the result for Hydra's sweeper; that of a failed job raises `failure` when its value is read."""
        result = outcome.returned or JobReturn(
            overrides=list(self.request.overrides),
            cfg=own_values(self.tree),
            hydra_cfg=OmegaConf.masked_copy(self.tree, ["hydra"]),
        )
        if outcome.status not in ("finished", "skipped"):
            result.status, result.return_value = JobStatus.FAILED, SweepError(failure)
        elif outcome.returned is None:
            result.status = JobStatus.COMPLETED
            result.return_value = outcome.scores.get(self.config.objective) if self.config else None
        return result


@dataclass(frozen=True)
class Launch:
    """Hydra's arguments to a launcher."""

    context: HydraContext
    task: TaskFunction
    config: DictConfig

    def jobs(self, overrides: Sequence[Sequence[str]], first: int) -> list[HydraJob]:
        """Return the jobs of `overrides`, numbered from `first`. Raise ConfigError for the first wrong config."""
        import cloudpickle  # pickles what is defined in a notebook or a function, too

        if not overrides:
            raise ConfigError("no jobs: one of the lists of values is empty")
        payload = cloudpickle.dumps((self.task, self.context, Singleton.get_state()))
        jobs = [self._job(number, each, payload) for number, each in enumerate(overrides, first)]
        configs = [job.config for job in jobs if job.config is not None]
        if len({repr((config.sweep, config.tracking, config.cluster)) for config in configs}) > 1:
            raise ConfigError("sweep, tracking and cluster: must be the same for all jobs of a sweep")
        for config in configs:
            if config.resume not in (None, "auto"):
                raise ConfigError(f"resume={config.resume}: is one run; with -m use resume=auto")
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
        return HydraJob(number, config, _request(config, overrides), list(overrides), tree, payload)

    def _values(self, tree: DictConfig) -> dict[str, Any]:
        """Return the values of a job, with `${hydra:...}` resolved as `run_job` would."""
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
    """Return the tree without Hydra's own node."""
    return OmegaConf.masked_copy(tree, [str(key) for key in tree if key != "hydra"])


def _request(config: Config | None, overrides: Sequence[str]) -> Request:
    return Request.of("train", config, without_roles(overrides, Config, LAUNCH))


class Sweep:
    """All jobs of one command, and their run in MLflow. As a context it ends that run, with the report of the jobs."""

    def __init__(self, execute: Execute, folder: Path) -> None:
        self.execute, self.folder = execute, folder.resolve()
        self.jobs: list[HydraJob] = []
        self.outcomes: dict[int, Outcome] = {}
        self.parent: Parent | None = None

    def __enter__(self) -> Sweep:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        if not interrupted and self.outcomes and self.jobs[0].config is not None:
            report(self.jobs, self.outcomes, self.parent, self.folder)
        if interrupted and self.jobs and self.jobs[0].config is not None and self.jobs[0].config.tracking.name != "off":
            onward = [each for each in sys.argv[1:] if not each.startswith(("sweep.skip_finished=", "resume="))]
            onward += ["sweep.skip_finished=true", "resume=auto"]
            print(f"to go on with the sweep: {command_line('train', onward)}", file=sys.stderr)
        if self.parent is not None:
            failed = kind is not None or self._failed(self.jobs)
            self.parent.end("KILLED" if interrupted else "FAILED" if failed else "FINISHED")

    def run(self, batch: Sequence[HydraJob]) -> list[JobReturn]:
        """Run a batch of jobs. Raise ConfigError before the first one, KeyboardInterrupt when interrupted."""
        config = batch[0].config
        if config is not None and config.print_config:
            print("---\n".join(OmegaConf.to_yaml(own_values(job.tree), resolve=True) for job in batch), end="")
            return [job.job_return(Outcome("finished"), "") for job in batch]
        check_folders([job.config for job in [*self.jobs, *batch] if job.config is not None])
        skipped = finished_before(batch, config.tracking) if config and config.sweep.skip_finished else {}
        if config is not None and self.parent is None:
            self.parent = self._open(batch, config)
        self.jobs += batch
        for number in skipped:
            print(f"{self.jobs[number].title(shared_overrides(batch))}: skipped, its run has finished before")
        waiting = [job for job in batch if job.number not in skipped]
        ended = self.execute(self, waiting) if waiting else {}
        outcomes = {job.number: Outcome("killed", reason="not started") for job in batch} | dict(skipped) | dict(ended)
        self.outcomes |= outcomes
        shared, failed = shared_overrides(batch), self._failed(batch)
        reasons = "; ".join(f"{job.title(shared)}: {outcomes[job.number].reason}" for job in failed)
        failure = f"{len(failed)} of {len(batch)} jobs failed: {reasons}"
        return [job.job_return(outcomes[job.number], failure) for job in batch]

    def _open(self, batch: Sequence[HydraJob], config: Config) -> Parent | None:
        shared = shared_overrides(batch)
        keys = [each.partition("=")[0].lstrip("+") for each in batch[0].request.overrides if each not in shared]
        name = f"sweep over {', '.join(keys)}" if keys else "sweep"
        digests = "".join(sorted(job.digest for job in batch))
        digest = hashlib.sha256(digests.encode()).hexdigest()[:32]
        command, resume = command_line("train", sys.argv[1:]), config.sweep.skip_finished
        configs = [job.config for job in batch if job.config is not None]
        params = {
            "dataset.name": [each.dataset.name for each in configs],
            "dataset.source": [each.dataset.source for each in configs],
            "model.name": [each.model.name for each in configs],
        }
        return open_parent(config.tracking, "sweep", name, digest, command=command, params=params, resume=resume)

    def _failed(self, jobs: Sequence[HydraJob]) -> list[HydraJob]:
        return [job for job in jobs if job.number in self.outcomes and self.outcomes[job.number].status == "failed"]


def check_folders(configs: Sequence[Config]) -> None:
    """Raise ConfigError for a folder into which more than one job would write."""
    folders = {"output": [each.output for each in configs]}
    folders["trainer.checkpoint"] = [each.trainer.checkpoint for each in configs]
    for key, values in folders.items():
        shared = next((folder for folder, count in Counter(values).items() if folder is not None and count > 1), None)
        if shared is not None:
            raise ConfigError(
                f"{key}={shared}: the jobs of a sweep would write over each other there; give each its own: "
                f"'{key}={shared}/${{hydra:job.num}}'"
            )


def in_workers(backend: Literal["workers", "ray"], sweep: Sweep, jobs: Sequence[HydraJob]) -> Outcomes:
    """Run a batch in processes of this machine, or of a Ray cluster, as many at once as there is room for."""
    config = jobs[0].config
    settings = config.sweep if config else SweepConfig()
    size, total = min(settings.n_jobs, len(jobs)), sweep.jobs[-1].number + 1
    with (
        worker_pool(size, sweep.folder, backend, config.cluster if config else None) as pool,
        SweepProgress(total, Console(quiet=config is None, markup=False), total - len(jobs)) as progress,
    ):
        runner = Runner(pool, sweep.parent, progress, shared_overrides(sweep.jobs))
        return runner.run(jobs, fail_fast=settings.fail_fast)


def by_scheduler(launcher: Launcher, launch: Launch, sweep: Sweep, jobs: Sequence[HydraJob]) -> Outcomes:
    """Hand a batch to a scheduler through another launcher, which waits for all jobs."""
    task = launch.task
    if isinstance(task, HydraCommand) and jobs[0].config is not None:
        task = LinkedTask(named(task.function), RunLink(sweep.parent.id if sweep.parent else None))
    launcher.setup(hydra_context=launch.context, task_function=task, config=launch.config)
    returns: Sequence[JobReturn] = []
    died = ""
    try:
        returns = launcher.launch([job.overrides for job in jobs], jobs[0].number)
    except RuntimeError as error:  # what submitit raises where a job gave no result; the others ran all the same
        died = " ".join(str(error).split())[:500]
    return _recorded_outcomes(jobs, returns, died, sweep.parent)


def _recorded_outcomes(
    jobs: Sequence[HydraJob], returns: Sequence[JobReturn], died: str, parent: Parent | None
) -> Outcomes:
    """Return the outcome that each job recorded or raised; `died` is the reason of those that returned nothing."""
    if parent is not None and died:
        parent.close_lost("FAILED", died)
    children = parent.children("FINISHED") if parent else {}
    failed = parent.children("FAILED") if parent else {}
    outcomes = {}
    for job, result in zip_longest(jobs, returns):
        if parent is not None and job.digest in children:
            outcomes[job.number] = parent.outcome(children[job.digest])
        elif parent is not None and job.digest in failed:
            outcomes[job.number] = Outcome("failed", reason=parent.failure(failed[job.digest]))
        elif result is None:
            outcomes[job.number] = Outcome("failed", reason=died)
        elif result.status is not JobStatus.COMPLETED:
            outcomes[job.number] = Outcome("failed", reason=str(result._return_value), returned=result)
        else:
            outcomes[job.number] = Outcome("finished", returned=result)
    return outcomes


def finished_before(jobs: Sequence[HydraJob], tracking: TrackingConfig) -> dict[int, Outcome]:
    """Return a `skipped` outcome, by number, for each job with a finished run of its config digest in the experiment.

    Workers outlive a killed sweep by some seconds, in which they may finish: wait for them.
    """
    if tracking.name == "off":
        raise ConfigError("sweep.skip_finished=true: needs a record of what is finished; not with tracking=off")
    open_store(tracking)  # a first sweep makes it
    digests, deadline = {job.digest for job in jobs}, time.monotonic() + GRACE_SECONDS
    while digests & under_way(tracking) and time.monotonic() < deadline:
        time.sleep(0.2)
    runs = {run.tags.get(DIGEST_TAG): run for run in reversed(find_runs(tracking))}
    found = {job.number: runs.get(job.digest) for job in jobs}
    return {
        number: Outcome("skipped", run_id=run.id, weights_digest=run.tags["weights.sha256"], scores=run.metrics)
        for number, run in found.items()
        if run is not None
    }
