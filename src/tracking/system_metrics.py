"""The use of the machine while a run goes: what MLflow's own monitor measures, recorded through the run's spool."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping

PREFIX = "system/"
Log = Callable[[Mapping[str, float], int], None]


@contextlib.contextmanager
def system_metrics(run_id: str, log: Log, first_step: int = 0) -> Iterator[None]:
    """Hand `system/*` of processors, memory, disk, network and GPUs to `log(metrics, step)` from a thread, every ten
    seconds or as MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL says. GPUs are seen where `nvidia-ml-py` is installed.

    MLflow's monitor asks the server whether the run still goes, and gives up where it is away; its measuring is used
    here, its thread and its sending are not.
    """
    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor, ended = SystemMetricsMonitor(run_id), threading.Event()

    def measure() -> None:
        step = first_step
        monitor.collect_metrics()  # rates count from here
        while not ended.wait(monitor.sampling_interval):
            monitor.collect_metrics()
            log({f"{PREFIX}{name}": float(value) for name, value in monitor.aggregate_metrics().items()}, step)
            for each in monitor.monitors:
                each.clear_metrics()
            step += 1

    thread = threading.Thread(target=measure, name="system metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
