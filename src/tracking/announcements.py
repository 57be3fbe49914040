"""Runs that are being made: announced on disk before their store knows of them, so that a process that is killed in
between leaves no run that stays RUNNING for ever.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator

from filelock import FileLock, Timeout

from ..config import TrackingConfig
from .store import open_store, tracking_uri, unsent_root

TAG = "mlflow.beginning"  # the prefix keeps it out of the UI's columns
_LOCK = ".lock"


@contextlib.contextmanager
def announced(tracking: TrackingConfig) -> Iterator[str]:
    """A token that the run which the body makes is tagged with. Where the body fails or its process is killed, the
    announcement stays, and the next start closes that run.
    """
    token, root = uuid.uuid4().hex, unsent_root(tracking)
    root.mkdir(parents=True, exist_ok=True)
    file = root / f"beginning-{token}.json"
    with FileLock(file.with_suffix(_LOCK)):  # before the file: who finds it unlocked closes the run
        file.write_text(json.dumps({"uri": tracking_uri(tracking), "experiment": tracking.experiment}))
        yield token
        file.unlink()
        file.with_suffix(_LOCK).unlink(missing_ok=True)


def close_announced(tracking: TrackingConfig) -> list[str]:
    """End the runs of this store that were announced by processes that are gone, as KILLED; their ids."""
    closed: list[str] = []
    here = {"uri": tracking_uri(tracking), "experiment": tracking.experiment}
    for file in sorted(unsent_root(tracking).glob("beginning-*.json")):
        lock = file.with_suffix(_LOCK)
        with contextlib.suppress(Timeout, OSError, ValueError), FileLock(lock, timeout=0):
            if file.exists() and json.loads(file.read_text()) == here:
                closed += _close(tracking, file.stem.removeprefix("beginning-"))
                file.unlink()
            if not file.exists():  # ended by whoever announced it, or just now
                lock.unlink(missing_ok=True)
    return closed


def _close(tracking: TrackingConfig, token: str) -> list[str]:
    mlflow = open_store(tracking)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(tracking.experiment)
    wanted = f"tags.`{TAG}` = '{token}' AND attributes.status = 'RUNNING'"
    found = client.search_runs([experiment.experiment_id], wanted)
    for run in found:
        client.set_tag(run.info.run_id, "failure", "its process ended while the run was being made")
        client.set_terminated(run.info.run_id, "KILLED")
    return [run.info.run_id for run in found]
