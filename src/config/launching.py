"""The typed config of what runs beside one another: the jobs of a sweep, and the cluster that takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from .types import Count, PositiveNumber, Strict


@dataclass(frozen=True)
class SweepConfig(Strict):
    """How the jobs of `python -m src.train -m ...` are run: `n_jobs` at a time, sharing the cores.

    `fail_fast` ends the sweep at the first job that fails; `skip_finished` leaves out jobs whose config has a finished
    run in the experiment.
    """

    n_jobs: Count = 1
    fail_fast: bool = False
    skip_finished: bool = False


@dataclass(frozen=True)
class ClusterConfig(Strict):
    """A Ray cluster, and what a job gets of it: processors, GPUs (or a share of one), starts after a lost machine.

    `address` null means the one that RAY_ADDRESS names, else a Ray of its own on this machine.
    """

    address: str | None = None
    num_cpus: PositiveNumber = 1
    num_gpus: Annotated[float, Ge(0)] = 0
    max_retries: Annotated[int, Ge(0)] = 3


Objective = Literal[
    "validation/accuracy",
    "validation/balanced_accuracy",
    "validation/precision",
    "validation/recall",
    "validation/specificity",
    "validation/f1",
    "validation/mcc",
    "validation/roc_auc",
    "validation/average_precision",
    "validation/log_loss",
    "validation/brier",
    "best/val_loss",
    "best/val_accuracy",
    "best/val_auc",
]
"""What an optimizing sweeper may be given of a run: scores of validation, never of test."""
