"""Hydra's door to the sweeps: launchers must live in `hydra_plugins`, and Hydra imports this at every start."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


def sweeps(module: str) -> Any:
    """A module of the package `sweeps`: that of the checkout, `src`, or of the installed package."""
    installed = "happy_sad.cli" in sys.modules or ("src.cli" not in sys.modules and find_spec("happy_sad") is not None)
    return importlib.import_module(f"{'happy_sad' if installed else 'src'}.sweeps.{module}")


class WorkerLauncher(Launcher):
    """Runs each job of a sweep in a worker process of its own, forked from one that has TensorFlow imported.

    `sweep.*` says how many at a time. Jobs of `python -m src.train` are recorded as one sweep in MLflow.
    """

    backend: Literal["workers", "ray"] = "workers"
    sweep: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.launch_arguments = sweeps("multirun").Launch(hydra_context, task_function, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        jobs = self.launch_arguments.jobs(job_overrides, initial_job_idx)
        if self.sweep is None:
            self.sweep = sweeps("multirun").Sweep(self.execute, Path(self.launch_arguments.config.hydra.sweep.dir))
            if hasattr(self.launch_arguments.task, "closing"):
                self.launch_arguments.task.closing.enter_context(self.sweep)
        return self.sweep.run(jobs)  # type: ignore[no-any-return]

    def execute(self, sweep: Any, jobs: Sequence[Any]) -> Any:
        """Run jobs and return their outcomes by number."""
        return sweeps("multirun").in_workers(self.backend, sweep, jobs)


class RayLauncher(WorkerLauncher):
    """Runs the jobs on a Ray cluster: hydra/launcher=ray sweep.n_jobs=16 seed=range(16) tracking=server.

    Without cluster.address=HOST:6379 or RAY_ADDRESS a Ray of its own starts on this machine. Each node has the project
    and its environment in the same place, prepares a data set once into its own cache, and reports to the tracking
    server. A job whose node is lost is begun again elsewhere, in the same run. Needs ray: the extra `cluster`.
    """

    backend: Literal["workers", "ray"] = "ray"


class SlurmLauncher(WorkerLauncher):
    """Hands the jobs to Slurm through submitit's launcher, as one sweep in MLflow; `parameters` are that launcher's."""

    executor = "SlurmLauncher"

    def __init__(self, **parameters: Any) -> None:
        self.parameters = parameters

    def execute(self, sweep: Any, jobs: Sequence[Any]) -> Any:
        from hydra_plugins.hydra_submitit_launcher import submitit_launcher

        inner = getattr(submitit_launcher, self.executor)(**self.parameters)
        return sweeps("multirun").by_scheduler(inner, self.launch_arguments, sweep, jobs)


class LocalLauncher(SlurmLauncher):
    """The same in processes of this machine."""

    executor = "LocalLauncher"


for name, launcher in {"workers": WorkerLauncher, "ray": RayLauncher}.items():
    node = {"_target_": f"{__name__}.{launcher.__name__}"}
    ConfigStore.instance().store(group="hydra/launcher", name=name, node=node, provider="happy-sad")
