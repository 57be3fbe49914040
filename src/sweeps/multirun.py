"""`python -m src.train -m ...`: check every job, run them in workers, record them below one parent run."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from omegaconf import OmegaConf
from rich.console import Console

from ..cli.hydra_command import plain_tree
from ..config import PROJECT_ROOT, Config, TrackingConfig, to_config
from ..config.identity import config_digest
from ..errors import ConfigError, SweepError
from ..tracking.provenance import command_line
from ..tracking.read import find_runs
from ..tracking.recording import DIGEST_TAG
from .jobs import Job, Outcome, shared_overrides
from .parent import Parent, open_parent
from .pool import worker_pool
from .progress import SweepProgress
from .runner import Runner
from .sweep_report import report

if TYPE_CHECKING:
    from omegaconf import DictConfig

LOGS = PROJECT_ROOT / "outputs" / "multirun"
NOT_THE_JOB = ("hydra.", "hydra/", "sweep.", "cluster.")


def multirun(
    trees: Sequence[DictConfig],
    overrides: Sequence[Sequence[str]],
    backend: Literal["workers", "ray"] = "workers",
) -> list[Outcome]:
    """Run the job of each composed tree; `overrides` are those that made it. Gives the outcomes in the jobs' order.

    Raises ConfigError before the first job starts, SweepError after the last where jobs failed, KeyboardInterrupt when
    interrupted: running jobs are then KILLED, finished ones stay.
    """
    jobs = check(trees, overrides)
    if jobs[0].config.print_config:
        print("---\n".join(OmegaConf.to_yaml(_own(tree), resolve=True) for tree in trees), end="")
        return []
    tracking, settings, shared = jobs[0].config.tracking, jobs[0].config.sweep, shared_overrides(jobs)
    digest = sweep_digest(jobs)
    folder = LOGS / digest[:12]
    with worker_pool(min(settings.n_jobs, len(jobs)), folder, backend, jobs[0].config.cluster) as pool:
        command = command_line("train", sys.argv[1:])
        parent = open_parent(
            tracking, "sweep", sweep_name(jobs), digest, command=command, resume=settings.skip_finished
        )
        try:
            with SweepProgress(len(jobs), settings.n_jobs, Console()) as progress:
                outcomes = run_jobs(jobs, Runner(pool, parent, progress, shared))
        except KeyboardInterrupt:
            if parent is not None:
                parent.end("KILLED")
            raise
    report(jobs, outcomes, parent, folder)
    conclude(jobs, outcomes, parent)
    return [outcomes[job.number] for job in jobs if job.number in outcomes]


def check(trees: Sequence[DictConfig], overrides: Sequence[Sequence[str]]) -> list[Job]:
    """The jobs of a sweep, every config checked. Raises ConfigError."""
    jobs = []
    for number, (tree, given) in enumerate(zip(trees, overrides, strict=True)):
        own = [override for override in given if not override.lstrip("+~").startswith(NOT_THE_JOB)]
        jobs.append(Job(number, to_config(plain_tree(_own(tree)), Config), own))
    first = jobs[0].config
    shared = (first.sweep, first.tracking, first.cluster)
    if any((job.config.sweep, job.config.tracking, job.config.cluster) != shared for job in jobs):
        raise ConfigError("sweep, tracking and cluster: must be the same for all jobs of a sweep")
    return jobs


def run_jobs(jobs: Sequence[Job], runner: Runner) -> dict[int, Outcome]:
    """Run `jobs` in order, as many at once as there is room for; outcomes by job number.

    With `fail_fast`, the first failure ends the running jobs and leaves the rest out.
    """
    settings = jobs[0].config.sweep
    outcomes = finished_before(jobs, jobs[0].config.tracking) if settings.skip_finished else {}
    for number, outcome in outcomes.items():
        runner.progress.ended(number, jobs[number].title(runner.shared), outcome)
    waiting = [job for job in jobs if job.number not in outcomes]
    try:
        while waiting or runner.running:
            while waiting and runner.has_room:
                runner.start(waiting.pop(0))
            ended = runner.wait()
            if settings.fail_fast and any(outcome.status == "failed" for _, outcome in ended):
                waiting.clear()
                ended += runner.interrupt()
            outcomes |= {job.number: outcome for job, outcome in ended}
    except KeyboardInterrupt:
        runner.interrupt()
        raise
    return outcomes


def finished_before(jobs: Sequence[Job], tracking: TrackingConfig) -> dict[int, Outcome]:
    """A `skipped` outcome, by number, for each job whose config digest has a finished run in the experiment."""
    if tracking.name == "off":
        raise ConfigError("sweep.skip_finished=true: needs a record of what is finished; not with tracking=off")
    runs = {run.tags.get(DIGEST_TAG): run for run in reversed(find_runs(tracking))}
    found = {job.number: runs.get(config_digest(job.config)) for job in jobs}
    return {
        number: Outcome("skipped", run_id=run.id, weights_digest=run.tags["weights.sha256"], scores=run.metrics)
        for number, run in found.items()
        if run is not None
    }


def sweep_digest(jobs: Sequence[Job]) -> str:
    """Equal for sweeps over the same configs, in whatever order."""
    digests = sorted(config_digest(job.config) for job in jobs)
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:32]


def conclude(jobs: Sequence[Job], outcomes: dict[int, Outcome], parent: Parent | None) -> None:
    """End the sweep's run. Raises SweepError where jobs failed."""
    failed = [job for job in jobs if job.number in outcomes and outcomes[job.number].status == "failed"]
    if parent is not None:
        parent.end("FAILED" if failed else "FINISHED")
    if failed:
        shared = shared_overrides(jobs)
        reasons = "; ".join(f"{job.title(shared)}: {outcomes[job.number].reason}" for job in failed)
        raise SweepError(f"{len(failed)} of {len(jobs)} jobs failed: {reasons}")


def sweep_name(jobs: Sequence[Job]) -> str:
    """`sweep over model, seed`: the keys whose values differ."""
    shared = shared_overrides(jobs)
    keys = [each.partition("=")[0].lstrip("+") for each in jobs[0].overrides if each not in shared]
    return f"sweep over {', '.join(keys)}" if keys else "sweep"


def _own(tree: DictConfig) -> DictConfig:
    """The tree without Hydra's own node."""
    return OmegaConf.masked_copy(tree, [str(key) for key in tree if key != "hydra"])
