"""One run, and what it is part of: everything that can differ between two of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge

from src.config.data import DatasetConfig
from src.config.evaluation import EvaluationConfig
from src.config.training import AugmentationConfig, ModelConfig, OptimizerConfig, TrainerConfig
from src.config.types import Count, PositiveNumber, Seed, Strict


@dataclass(frozen=True)
class TrackingConfig(Strict):
    """Where runs are recorded. `uri` null means the project's own SQLite store under `mlruns/`; `parent` is the id of
    the sweep's run that this run belongs to; `job` names it within a sweep whose jobs may be begun again.
    """

    name: Literal["local", "server", "off"]
    uri: str | None = None
    experiment: str = "happy-sad"
    log_model: bool = True
    parent: str | None = None
    job: str | None = None


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


@dataclass(frozen=True)
class Config(Strict):
    """Everything that can differ between two runs."""

    dataset: DatasetConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    aug: AugmentationConfig
    trainer: TrainerConfig
    tracking: TrackingConfig
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    seed: Seed = 0
    name: str | None = None
    output: str | None = None
    print_config: bool = False

    def __post_init__(self) -> None:
        if self.output == "":
            raise ValueError("output= is empty; name a folder, or leave it out")
