"""`python -m src.train -m ...`: every batch of a sweeper's jobs, checked, run and recorded below one parent run."""

from __future__ import annotations

import hashlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Literal

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf
from rich.console import Console

from ..cli.hydra_command import HydraCommand, named
from ..config import Config, SweepConfig, TrackingConfig
from ..config.identity import command_line
from ..errors import ConfigError
from ..tracking.read import find_runs
from ..tracking.resuming import under_way
from ..tracking.run_folder import RunLink
from ..tracking.store import DIGEST_TAG, open_store
from .hydra_jobs import HydraJob, Launch, LinkedTask, own_values, returned
from .jobs import Job, Outcome, shared_overrides
from .parent import Parent, open_parent, report
from .pool import GRACE_SECONDS
from .runner import Runner, SweepProgress, worker_pool

Outcomes = Mapping[int, Outcome]
Execute = Callable[["Sweep", Sequence[HydraJob]], Outcomes]


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
        if self.parent is not None:
            failed = kind is not None or self._failed(self.jobs)
            self.parent.end("KILLED" if interrupted else "FAILED" if failed else "FINISHED")

    def run(self, batch: Sequence[HydraJob]) -> list[JobReturn]:
        """Run a batch of jobs. Raises ConfigError before the first one, KeyboardInterrupt when interrupted."""
        config = batch[0].config
        if config is not None and config.print_config:
            print("---\n".join(OmegaConf.to_yaml(own_values(job.tree), resolve=True) for job in batch), end="")
            return [returned(job, Outcome("finished"), "") for job in batch]
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
        return [returned(job, outcomes[job.number], failure) for job in batch]

    def _open(self, batch: Sequence[HydraJob], config: Config) -> Parent | None:
        command = command_line("train", sys.argv[1:])
        name, resume = sweep_name(batch), config.sweep.skip_finished
        return open_parent(config.tracking, "sweep", name, sweep_digest(batch), command=command, resume=resume)

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
        SweepProgress(total, size, Console(quiet=config is None, markup=False), total - len(jobs)) as progress,
    ):
        runner = Runner(pool, sweep.parent, progress, shared_overrides(sweep.jobs))
        return run_jobs(jobs, runner, fail_fast=settings.fail_fast)


def run_jobs(jobs: Sequence[Job], runner: Runner, *, fail_fast: bool) -> dict[int, Outcome]:
    """Run `jobs` in order, as many at once as there is room for; outcomes by job number.

    With `fail_fast`, the first failure ends the running jobs and leaves the rest out.
    """
    waiting, outcomes = list(jobs), dict[int, Outcome]()
    try:
        while waiting or runner.running:
            while waiting and runner.has_room:
                runner.start(waiting.pop(0))
            ended = runner.wait()
            if fail_fast and any(outcome.status == "failed" for _, outcome in ended):
                waiting.clear()
                ended += runner.interrupt()
            outcomes |= {job.number: outcome for job, outcome in ended}
    except KeyboardInterrupt:
        runner.interrupt()
        raise
    return outcomes


def by_scheduler(launcher: Launcher, given: Launch, sweep: Sweep, jobs: Sequence[HydraJob]) -> Outcomes:
    """Hand a batch to a scheduler through another launcher, which waits for all jobs."""
    task = given.task
    if isinstance(task, HydraCommand) and jobs[0].config is not None:
        task = LinkedTask(named(task.function), RunLink(sweep.parent.id if sweep.parent else None))
    launcher.setup(hydra_context=given.context, task_function=task, config=given.config)
    returns: Sequence[JobReturn] = []
    died = ""
    try:
        returns = launcher.launch([job.given for job in jobs], jobs[0].number)
    except RuntimeError as error:  # what submitit raises where a job gave no result; the others ran all the same
        died = " ".join(str(error).split())[:500]
    return _recorded_outcomes(jobs, returns, died, sweep.parent)


def _recorded_outcomes(
    jobs: Sequence[HydraJob], returns: Sequence[JobReturn], died: str, parent: Parent | None
) -> Outcomes:
    """What became of each job: what it recorded, or what it raised; `died` says why none returned anything."""
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
    """A `skipped` outcome, by number, for each job whose config digest has a finished run in the experiment.

    Workers outlive a sweep that is killed by some seconds, in which they may finish: they are waited for.
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
        number: Outcome(
            "skipped",
            run_id=run.id,
            weights_digest=run.tags["weights.sha256"],
            scores=run.metrics,
        )
        for number, run in found.items()
        if run is not None
    }


def sweep_digest(jobs: Sequence[Job]) -> str:
    """Equal for sweeps over the same configs, in whatever order."""
    digests = sorted(job.digest for job in jobs)
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:32]


def sweep_name(jobs: Sequence[Job]) -> str:
    """`sweep over model, seed`: the keys whose values differ."""
    shared = shared_overrides(jobs)
    keys = [each.partition("=")[0].lstrip("+") for each in jobs[0].overrides if each not in shared]
    return f"sweep over {', '.join(keys)}" if keys else "sweep"
