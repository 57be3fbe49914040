"""Jobs on a Ray cluster: each is a task in a process of its own, on a node that has room.

Ray starts a task again when its node is lost; the second attempt continues the first one's run (`RunLink.job`).
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import ClusterConfig
from ..ray_cluster import connect
from .jobs import Job, Outcome, execute
from .pool import GRACE_SECONDS, Pool, Running, write_output_to

# Settings that change a result. Not passwords and tokens, which a cluster shows to its users: the nodes have those.
PASSED_ON = ("KERAS_", "TF_", "XLA_", "JAX_", "MLFLOW_")
SECRET = ("PASSWORD", "TOKEN", "SECRET")


class RayPool(Pool):
    """Jobs as tasks of a Ray cluster. Raises ClusterError where Ray is not installed or the cluster not there."""

    def __init__(self, size: int, logs: Path, cluster: ClusterConfig) -> None:
        super().__init__(size, logs)
        self.ray = connect(cluster.address, "cluster.address")
        self.name = uuid.uuid4().hex[:12]
        options = {"num_cpus": cluster.num_cpus, "num_gpus": cluster.num_gpus, "max_retries": cluster.max_retries}
        # One call a process: nothing is left over from job to job.
        self.task = self.ray.remote(**options, max_calls=1)(_run_on_node)

    def launch(self, job: Job, log: Path) -> Any:
        job = replace(job, link=replace(job.link, job=f"{self.name}-{job.number}"))
        return self.task.remote(job, log, environment(), os.getcwd())

    def ready(self, seconds: float) -> Sequence[Any]:
        return self.ray.wait([each.handle for each in self.running], timeout=seconds)[0]  # type: ignore[no-any-return]

    def cancel(self, running: Running, *, force: bool) -> None:
        self.ray.cancel(running.handle, force=force)

    def collect(self, ended: Running) -> Outcome:
        errors = self.ray.exceptions
        try:
            outcome: Outcome = self.ray.get(ended.handle, timeout=GRACE_SECONDS)
        except (errors.TaskCancelledError, errors.GetTimeoutError):
            return Outcome("killed", time.perf_counter() - ended.started, reason="interrupted")
        except errors.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            return Outcome("failed", time.perf_counter() - ended.started, reason=reason, transient=True)
        if outcome.status != "failed" or outcome.reason:
            return outcome
        return replace(outcome, reason=f"a defect (traceback in {ended.log} on its node)")

    def close(self) -> None:
        """End what still runs, and leave the cluster."""
        self.interrupt()
        self.ray.shutdown()


def environment() -> dict[str, str]:
    """Return the settings of this process that its jobs need on other machines."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(PASSED_ON) and not any(word in name for word in SECRET)
    }


def _run_on_node(job: Job, log: Path, settings: Mapping[str, str], folder: str) -> Outcome:
    """Run `job` on a node, with its output in `log` there. Relative paths count from `folder`."""
    with contextlib.suppress(OSError):  # a node that has no such folder
        os.chdir(folder)
    os.environ.update(settings)
    # Ray sets the number of OpenMP threads to num_cpus; sums in other numbers of threads give other weights.
    os.environ.pop("OMP_NUM_THREADS", None)
    write_output_to(log)
    return execute(job)
