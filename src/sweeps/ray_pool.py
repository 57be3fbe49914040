"""Jobs on a Ray cluster: the same jobs with the same records as `pool` runs here, wherever there is room.

Ray begins a job again whose machine is lost; the second attempt goes on in the first one's run (`RunLink.job`).
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..config import ClusterConfig
from ..ray_cluster import connect
from .jobs import Job, Outcome
from .pool import GRACE_SECONDS, Running, run, watched, write_output_to

# What makes a job another one. Not passwords and tokens, which a cluster shows to its users: the nodes have those.
PASSED_ON = ("KERAS_", "TF_", "XLA_", "JAX_", "MLFLOW_")
SECRET = ("PASSWORD", "TOKEN", "SECRET")


@dataclass(frozen=True)
class RunningTask(Running):
    """A job on a cluster; `task` is Ray's reference to its outcome."""

    task: Any


class RayPool:
    """Up to `size` jobs at once, each in a process of its own on a node that has room.

    Raises ClusterError where Ray is not installed or the cluster not there.
    """

    def __init__(self, size: int, logs: Path, cluster: ClusterConfig) -> None:
        self.ray = connect(cluster.address, "cluster.address")
        self.logs = logs
        self.name = uuid.uuid4().hex[:12]
        self.free = list(range(size))
        self.running: list[RunningTask] = []
        options = {"num_cpus": cluster.num_cpus, "num_gpus": cluster.num_gpus, "max_retries": cluster.max_retries}
        # One call a process: nothing is left over from job to job.
        self.remote = self.ray.remote(**options, max_calls=1)(run_remotely)

    def start(self, job: Job) -> RunningTask:
        """Hand `job` to the cluster."""
        self.free.pop()
        job, log = watched(replace(job, link=replace(job.link, job=f"{self.name}-{job.number}")), self.logs)
        running = RunningTask(job, log, time.perf_counter(), self.remote.remote(job, log, environment(), os.getcwd()))
        self.running.append(running)
        return running

    def wait(self, seconds: float) -> list[tuple[RunningTask, Outcome]]:
        """The jobs that end within `seconds`, as soon as there is one."""
        if not self.running:
            return []
        ready, _ = self.ray.wait([each.task for each in self.running], timeout=seconds)
        return [(each, self._collect(each)) for each in list(self.running) if each.task in ready]

    def interrupt(self) -> list[tuple[RunningTask, Outcome]]:
        """End all running jobs as Ctrl-C would, those that do not answer by force, and give what became of them."""
        for each in self.running:
            self.ray.cancel(each.task)
        deadline = time.perf_counter() + GRACE_SECONDS
        ended = []
        while self.running and time.perf_counter() < deadline:
            ended += self.wait(deadline - time.perf_counter())
        for each in self.running:
            self.ray.cancel(each.task, force=True)
        return ended + [(each, self._collect(each)) for each in list(self.running)]

    def close(self) -> None:
        """End what still runs, and leave the cluster."""
        self.interrupt()
        self.ray.shutdown()

    def _collect(self, ended: RunningTask) -> Outcome:
        errors = self.ray.exceptions
        try:
            outcome: Outcome = self.ray.get(ended.task, timeout=GRACE_SECONDS)
            if outcome.status == "failed" and not outcome.reason:
                outcome = replace(outcome, reason=f"a defect (traceback in {ended.log} on its node)")
        except (errors.TaskCancelledError, errors.GetTimeoutError):
            outcome = Outcome("killed", time.perf_counter() - ended.started, reason="interrupted")
        except errors.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            outcome = Outcome("failed", time.perf_counter() - ended.started, reason=reason)
        self.running.remove(ended)
        self.free.append(len(self.free))
        return outcome


def environment() -> dict[str, str]:
    """Those of this process's settings that its jobs are to have on other machines."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(PASSED_ON) and not any(word in name for word in SECRET)
    }


def run_remotely(job: Job, log: Path, settings: Mapping[str, str], folder: str) -> Outcome:
    """The inside of a task: `job`, its output in `log` on the node that runs it. Relative paths count from `folder`."""
    with contextlib.suppress(OSError):  # a node that has no such folder
        os.chdir(folder)
    os.environ.update(settings)
    # Ray sets the number of OpenMP threads to num_cpus; sums in other numbers of threads give other weights.
    os.environ.pop("OMP_NUM_THREADS", None)
    write_output_to(log)
    return run(job)
