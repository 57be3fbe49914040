"""Hydra's door to the package `sweeps`: launchers must live in `hydra_plugins`, and Hydra imports this at every start.

The package is `src` in a checkout and `happy_sad` where it is installed; the task that Hydra runs tells which.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class WorkerLauncher(Launcher):
    """Runs each job of `python -m src.train -m ...` in a worker process of its own, as one sweep in MLflow."""

    backend: Literal["workers", "ray"] = "workers"

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.package = task_function.__module__.partition(".")[0]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        self.sweeps("multirun").multirun(self.trees(job_overrides), job_overrides, self.backend)
        return []

    def sweeps(self, module: str) -> ModuleType:
        """A module of the package `sweeps`, imported when jobs are there to run."""
        return importlib.import_module(f"{self.package}.sweeps.{module}")

    def trees(self, job_overrides: Sequence[Sequence[str]]) -> list[DictConfig]:
        """The composed config of each job."""
        loader = self.hydra_context.config_loader
        return [loader.load_sweep_config(self.config, list(each)) for each in job_overrides]


class SlurmLauncher(WorkerLauncher):
    """Hands the jobs to Slurm through submitit's launcher, as one sweep in MLflow; `parameters` are that launcher's."""

    executor = "SlurmLauncher"

    def __init__(self, **parameters: Any) -> None:
        self.parameters = parameters

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra_plugins.hydra_submitit_launcher import submitit_launcher

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.inner = getattr(submitit_launcher, self.executor)(**self.parameters)
        self.inner.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        self.sweeps("submission").submit(self.trees(job_overrides), job_overrides, self.inner.launch)
        return []


class LocalLauncher(SlurmLauncher):
    """The same in processes of this machine."""

    executor = "LocalLauncher"


class RayLauncher(WorkerLauncher):
    """Runs the jobs on a Ray cluster instead."""

    backend: Literal["workers", "ray"] = "ray"
