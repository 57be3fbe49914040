"""Sharing the machine out: each of several workers gets its own cores, or its own GPU."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from ..hardware import usable_cores

GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Slot:
    """The cores, and the GPU if there is one, that a worker may use; `threads` is the size of its thread pools.

    `threads` is the number of all cores whatever the share, because a sum split over another number of threads is
    rounded differently: so a job gives the same weights in a sweep as alone.
    """

    cores: frozenset[int]
    threads: int
    gpu: str | None = None

    def occupy(self) -> None:
        """Bind this process, before its backend has started, to the slot."""
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self.cores)
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(self.threads)
        if self.gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu


def slots(count: int) -> list[Slot]:
    """The slots of `count` workers. Raises ConfigError for more workers than GPUs, where there are GPUs."""
    cores = usable_cores()
    gpus = _gpus()
    if len(gpus) > 1 and count > len(gpus):
        raise ConfigError(f"sweep.n_jobs={count}: accepts at most {len(gpus)}, one job for each GPU")
    return [
        Slot(
            frozenset(cores[number % len(cores) :: count] if count <= len(cores) else [cores[number % len(cores)]]),
            len(cores),
            gpus[number] if count > 1 and len(gpus) > 1 else None,
        )
        for number in range(count)
    ]


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA names them; found without starting CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    return [str(number) for number in range(len(list(GPUS.iterdir())))] if GPUS.is_dir() else []
