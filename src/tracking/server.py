"""A run recorded on a tracking server that may go away at any time: nothing waits for it, nothing is lost.

Until the server has all of it the record stands in a folder of its own below mlruns/unsent: events (see `spool`),
pictures, the model, and what becomes artifacts. `python -m src.send` sends what a run could not.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from ..config import Config, TrackingConfig
from ..errors import TrackingError
from .entities import dataset_inputs, log_keras_model
from .link import RunLink
from .recording import Begun, Run, begin_run, data_tags, failure_tag
from .spool import Event, ServerAwayError, ServerRejectedError, Spool, milliseconds, read_events
from .store import STORE, open_store, tracking_uri

if TYPE_CHECKING:
    import keras

    from ..data.prepared import PreparedDataset

UNSENT = STORE / "unsent"
ABOUT, LOCK, MODEL, EXAMPLE = "run.json", "lock", "model.keras", "example.npy"
PATIENCE_SECONDS = 15.0
TOO_MANY_REQUESTS = 429


class ServerRun(Run):
    """A run on a server. Each call keeps an event on disk and returns; a thread sends it.

    Raises TrackingError from the first call after the server has rejected an event.
    """

    def __init__(self, folder: Path, spool: Spool, begun: Begun, *, log_model: bool) -> None:
        super().__init__(folder)
        self.id, self.spool, self.begun, self.keeps_model = begun.run_id, spool, begun, log_model
        self.unsent = spool.folder

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self._add({"metrics": self.begun.news(metrics, step), "step": step, "time": milliseconds()})

    def log_image(self, key: str, image: np.ndarray, step: int) -> None:
        from PIL import Image

        if (key, step) in self.begun.shown:
            return
        file = self.unsent / "images" / f"{key}-{step}.png".replace("/", "_")
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(file)
        self._add({"image": str(file.relative_to(self.unsent)), "key": key, "step": step, "time": milliseconds()})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._add({"tags": dict(tags)})

    def log_dataset(self, dataset: PreparedDataset, source: str) -> None:
        splits = dict(dataset.split_digests)
        self._add({"dataset": dataset.name, "digest": dataset.digest, "splits": splits, "source": source})
        self.set_tags(data_tags(splits))

    def log_model(self, model: keras.Model, example: np.ndarray) -> None:
        if self.keeps_model:
            model.save(self.unsent / MODEL)
            np.save(self.unsent / EXAMPLE, example)

    def _add(self, event: Event) -> None:
        if self.spool.rejected:
            raise TrackingError(f"the tracking server rejects what run {self.id} recorded: {self.spool.rejected}")
        self.spool.add(event)


@contextlib.contextmanager
def start_server_run(config: Config, name: str, tags: Mapping[str, str], link: RunLink | None = None) -> Iterator[Run]:
    """Open a run on the server; it ends as `src.tracking.recording.start_run` says, now or when the server is back.

    Raises TrackingError where the server is not there at the start.
    """
    mlflow = open_store(config.tracking, patient=link is not None)
    try:
        begun = begin_run(mlflow, config, name, tags, link)
    except (mlflow.MlflowException, OSError) as error:
        raise TrackingError(f"no run can be made at {tracking_uri(config.tracking)}: {_line(error)}") from error
    unsent = UNSENT / f"{begun.run_id}-{os.getpid()}"  # each attempt at a run has its own
    record = Path(config.output).expanduser().resolve() if config.output else unsent / "record"
    for folder in (unsent, record):
        folder.mkdir(parents=True, exist_ok=True)
    about = {"run": begun.run_id, "uri": tracking_uri(config.tracking), "experiment": config.tracking.experiment}
    (unsent / ABOUT).write_text(json.dumps({**about, "record": str(record)}))
    with FileLock(unsent / LOCK):
        spool = Spool(unsent, lambda events: deliver(mlflow, begun.run_id, unsent, events))
        run, status = ServerRun(record, spool, begun, log_model=config.tracking.log_model), "FAILED"
        try:
            yield run
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        except Exception as error:
            spool.add({"tags": failure_tag(error)})
            raise
        finally:
            spool.add({"end": status, "time": milliseconds()})
            _finish(mlflow, spool, unsent)


def _finish(mlflow: ModuleType, spool: Spool, unsent: Path) -> None:
    """Send what is left, or say how to do it later."""
    reason = ""
    if spool.close(PATIENCE_SECONDS):
        try:
            complete(mlflow, unsent)
        except (mlflow.MlflowException, OSError) as error:
            reason = _line(error)
    reason = reason or spool.rejected or ("" if spool.delivered else "it does not answer")
    if reason:
        print(
            f"the tracking server does not have all of run {unsent.name} ({reason}); the rest is kept in {unsent}: "
            "python -m src.send",
            file=sys.stderr,
        )
    else:
        shutil.rmtree(unsent)


def deliver(mlflow: ModuleType, run_id: str, folder: Path, events: Sequence[Event]) -> None:
    """Send events to the run. Raises ServerAwayError or ServerRejectedError."""
    client = mlflow.MlflowClient()
    try:
        if "metrics" in events[0]:
            client.log_batch(run_id, metrics=_metrics(mlflow, events))
        else:
            (event,) = events
            _deliver_one(mlflow, client, run_id, folder, event)
    except mlflow.MlflowException as error:
        status = error.get_http_status_code()
        rejected = 400 <= status < 500 and status != TOO_MANY_REQUESTS
        raise (ServerRejectedError if rejected else ServerAwayError)(_line(error)) from error
    except OSError as error:
        raise ServerAwayError(_line(error)) from error


def _metrics(mlflow: ModuleType, events: Sequence[Event]) -> list[Any]:
    metric = mlflow.entities.Metric
    return [
        metric(key, value, event["time"], event["step"]) for event in events for key, value in event["metrics"].items()
    ]


def _deliver_one(mlflow: ModuleType, client: Any, run_id: str, folder: Path, event: Event) -> None:
    if "tags" in event:
        client.log_batch(run_id, tags=[mlflow.entities.RunTag(key, value) for key, value in event["tags"].items()])
    elif "dataset" in event:
        inputs = dataset_inputs(event["dataset"], event["digest"], event["splits"], event["source"])
        client.log_inputs(run_id, inputs)
    elif "image" in event:
        from PIL import Image

        with Image.open(folder / event["image"]) as image:
            client.log_image(run_id, np.asarray(image), key=event["key"], step=event["step"], timestamp=event["time"])


def complete(mlflow: ModuleType, folder: Path) -> None:
    """Log the model and the artifacts of a run whose events are all sent, and end it. Raises what MLflow does."""
    about, end = json.loads((folder / ABOUT).read_text()), read_events(folder)[-1]
    if end["end"] == "FINISHED":
        with mlflow.start_run(run_id=about["run"], log_system_metrics=False):
            if (folder / MODEL).exists():
                import keras

                log_keras_model(mlflow, keras.saving.load_model(folder / MODEL), np.load(folder / EXAMPLE))
            mlflow.log_artifacts(about["record"])
    mlflow.MlflowClient().set_terminated(about["run"], end["end"], end_time=end["time"])


def unsent_folders() -> list[Path]:
    """The folders of runs that a server does not have whole, and of those still going."""
    return sorted(file.parent for file in UNSENT.glob(f"*/{ABOUT}"))


def send(folder: Path) -> str:
    """Send the rest of a run, remove its folder and give the run's id; empty for one that is still going.

    A run whose process ended without a word becomes KILLED. Raises TrackingError where the server does not take it.
    """
    about = json.loads((folder / ABOUT).read_text())
    mlflow = open_store(TrackingConfig("server", uri=about["uri"], experiment=about["experiment"]))
    try:
        with FileLock(folder / LOCK, timeout=0):
            # A job whose machine was lost may have been finished elsewhere.
            if mlflow.get_run(about["run"]).info.status != "FINISHED":
                _send(mlflow, about["run"], folder)
    except Timeout:
        return ""
    except (mlflow.MlflowException, OSError) as error:
        raise TrackingError(f"{folder}: the tracking server did not take all of it: {_line(error)}") from error
    shutil.rmtree(folder)
    return str(about["run"])


def _send(mlflow: ModuleType, run_id: str, folder: Path) -> None:
    spool = Spool(folder, lambda events: deliver(mlflow, run_id, folder, events))
    if not spool.events or "end" not in spool.events[-1]:
        spool.add({"tags": {"failure": "its process ended without a word"}})
        spool.add({"end": "KILLED", "time": milliseconds()})
    if not spool.close(PATIENCE_SECONDS):
        raise TrackingError(f"{folder}: {spool.rejected or 'the tracking server does not answer'}")
    complete(mlflow, folder)


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
