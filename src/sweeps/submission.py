"""A sweep whose jobs a scheduler runs: they are handed over all at once and are children of one run in MLflow."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from ..config.identity import config_digest
from ..tracking.provenance import command_line
from ..tracking.recording import PARENT_VARIABLE
from .jobs import Job, Outcome
from .multirun import LOGS, check, conclude, finished_before, sweep_digest, sweep_name
from .parent import Parent, open_parent
from .sweep_report import report

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig

Launch = Callable[[Sequence[Sequence[str]], int], "Sequence[JobReturn]"]


def submit(trees: Sequence[DictConfig], overrides: Sequence[Sequence[str]], launch: Launch) -> list[Outcome]:
    """Run the job of each composed tree by `launch(overrides, 0)`, which waits for all of them; outcomes in order.

    Raises ConfigError before the first job is handed over, SweepError after the last where jobs failed.
    """
    jobs = check(trees, overrides)
    settings, tracking, digest = jobs[0].config.sweep, jobs[0].config.tracking, sweep_digest(jobs)
    outcomes = finished_before(jobs, tracking) if settings.skip_finished else {}
    waiting = [job for job in jobs if job.number not in outcomes]
    command = command_line("train", sys.argv[1:])
    parent = open_parent(tracking, "sweep", sweep_name(jobs), digest, command=command, resume=settings.skip_finished)
    if parent is not None:
        os.environ[PARENT_VARIABLE] = parent.id  # jobs inherit the environment in which they are handed over
    returns: Sequence[JobReturn] = []
    died = ""
    try:
        returns = launch([list(overrides[job.number]) for job in waiting], 0) if waiting else []
    except KeyboardInterrupt:
        if parent is not None:
            parent.end("KILLED")
        raise
    except RuntimeError as error:  # what submitit raises where a job gave no result; the others ran all the same
        died = " ".join(str(error).split())[:500]
    outcomes |= _outcomes(waiting, returns, died, parent)
    report(jobs, outcomes, parent, LOGS / digest[:12])
    conclude(jobs, outcomes, parent)
    return [outcomes[job.number] for job in jobs]


def _outcomes(
    jobs: Sequence[Job], returns: Sequence[JobReturn], died: str, parent: Parent | None
) -> Mapping[int, Outcome]:
    """What became of each job: what it recorded, or what it raised; `died` says why none returned anything."""
    from hydra.core.utils import JobStatus

    if parent is not None and died:
        parent.close_lost("FAILED", died)
    children = parent.children("FINISHED") if parent else {}
    failed = parent.children("FAILED") if parent else {}
    outcomes = {}
    for job, returned in zip_longest(jobs, returns):
        digest = config_digest(job.config)
        run_id = children.get(digest)
        if parent is not None and run_id is not None:
            outcomes[job.number] = parent.outcome(run_id)
        elif parent is not None and digest in failed:
            outcomes[job.number] = Outcome("failed", reason=parent.failure(failed[digest]))
        elif returned is None:
            outcomes[job.number] = Outcome("failed", reason=died)
        elif returned.status is not JobStatus.COMPLETED:
            outcomes[job.number] = Outcome("failed", reason=str(returned._return_value))
        else:
            outcomes[job.number] = Outcome("finished")
    return outcomes
