"""Hydra's door to `src.sweeps`: launchers must live in `hydra_plugins`, and Hydra imports this at every start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class WorkerLauncher(Launcher):
    """Runs each job of `python -m src.train -m ...` in a worker process of its own, as one sweep in MLflow."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from src.sweeps.multirun import multirun

        trees = [self.hydra_context.config_loader.load_sweep_config(self.config, list(each)) for each in job_overrides]
        multirun(trees, job_overrides)
        return []
