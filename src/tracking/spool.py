"""Events of a run for its tracking store, kept on disk until the store has them, and sent in order.

An event is one line of JSON, on disk before `add` returns. A thread sends the events; while the server is away they
wait, and whoever adds them does not. Sending twice what a server had already taken changes nothing there: MLflow knows
a metric again by its key, value, step and time, and all four are in the event.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import Timeout

from ..config import TrackingConfig
from ..errors import TrackingError
from ..system import append_entry, quiet_stderr, read_entries
from .run_folder import RUN_FILE, TAG, SpooledRun, artifacts_of, locked, read_spooled_run
from .store import checked_id, first_line, open_store, store_errors

if TYPE_CHECKING:
    import pandas as pd

Event = Mapping[str, Any]
EVENTS, SENT = "spool.jsonl", "sent"
METRICS_PER_REQUEST = 1000
FIRST_PAUSE, MAX_PAUSE = 0.5, 10.0


class ServerAwayError(Exception):
    """A server that does not answer, or not sensibly: what was to be sent can be sent later."""


class ServerRejectedError(Exception):
    """A server that answers, but does not accept what was sent: sending it again would not help."""


class Spool:
    """The events of one run in `folder`, and the thread that sends them by `send(events)`.

    `send` gets one event, or several in a row that hold metrics; it raises ServerAwayError or ServerRejectedError.
    After a rejection nothing more is sent and `rejected` has the reason.
    """

    def __init__(self, folder: Path, send: Callable[[Sequence[Event]], None]) -> None:
        self.folder, self.send = folder, send
        folder.mkdir(parents=True, exist_ok=True)
        self.events = read_events(folder)
        self.sent = _read_sent(folder)
        self.rejected = ""
        self.reason = ""  # of the store's being away
        self.away = False
        self.changed = threading.Condition()
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self.thread.start()

    @property
    def delivered(self) -> bool:
        """Return whether the server has all events."""
        return self.sent == len(self.events)

    def add(self, event: Event) -> None:
        """Keep an event for sending; it survives the end of this process from now on. Raises OSError."""
        with self.changed:  # threads that add events write them in the order in which they are sent
            append_entry(self.folder / EVENTS, event)
            self.events.append(event)
            self.changed.notify_all()

    def close(self, patience: float) -> bool:
        """Wait until all is sent, for as long as something is sent every `patience` seconds; says whether all is."""
        with self.changed:
            # Any sending notifies; a wait that ends without a notice found the server away for that long.
            while not (self.delivered or self.rejected) and self.changed.wait(patience):
                pass
        self.closing.set()
        with self.changed:
            self.changed.notify_all()
        self.thread.join(patience)
        return self.delivered

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while events := self._next():
            try:
                self.send(events)
            except ServerAwayError as error:
                self._tell_away(str(error))
                self.closing.wait(pause)
                pause = min(2 * pause, MAX_PAUSE)
            except ServerRejectedError as error:
                with self.changed:
                    self.rejected = str(error)
                    self.changed.notify_all()
                return
            else:
                pause = FIRST_PAUSE
                self._note_sent(len(events))

    def _next(self) -> Sequence[Event]:
        """The events to send next, waiting for the first; none when there are none left and the spool is closed."""
        with self.changed:
            self.changed.wait_for(lambda: not self.delivered or self.closing.is_set())
            # One that was cut off by `close` may come back to a server that is still away: then this is the end of it.
            if self.delivered or (self.closing.is_set() and self.away):
                return []
            return leading_batch(self.events[self.sent :])

    def _note_sent(self, count: int) -> None:
        with self.changed:
            self.sent += count
            with contextlib.suppress(OSError):  # on a full disk: then what was sent is sent again, which is harmless
                (self.folder / SENT).write_text(str(self.sent))
            self.changed.notify_all()
        if self.away:
            self.away = False
            print("the tracking store is back", file=sys.stderr)

    def _tell_away(self, reason: str) -> None:
        told, self.away, self.reason = self.away, True, reason
        if not told and not self.closing.is_set():  # after that, whoever closed the spool says it
            print(f"the tracking store does not answer ({reason}); metrics wait in {self.folder}", file=sys.stderr)


def leading_batch(events: Sequence[Event]) -> Sequence[Event]:
    """The events in front that fit into one request: several where they hold metrics, else one."""
    count = total = 0
    while count < len(events) and "metrics" in events[count]:
        total += len(events[count]["metrics"])
        if count and total > METRICS_PER_REQUEST:
            break
        count += 1
    return events[: max(count, 1)]


def read_events(folder: Path) -> list[Event]:
    """The events kept in `folder`, but for one that a killed process did not finish. Raises DataError."""
    return list(read_entries(folder / EVENTS))


def _read_sent(folder: Path) -> int:
    file = folder / SENT
    text = file.read_text(errors="replace") if file.exists() else ""
    return int(text) if text.isdecimal() else 0  # sent once more, which is harmless


def milliseconds() -> int:
    """Now, since 1970."""
    return int(time.time() * 1000)


SPLIT_CONTEXTS = {"train": "training", "validation": "validation", "test": "testing"}
MODEL = "model.keras"
TOO_MANY_REQUESTS = 429
SHOWN_COLUMNS, MAX_SHOWN = ("path", "split", "label", "predicted", "probability"), 5000
SYNC_PATIENCE_SECONDS = 15.0


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
        rejected = 400 <= status < 500 and status != TOO_MANY_REQUESTS and not _lost_a_race(error)
        raise (ServerRejectedError if rejected else ServerAwayError)(first_line(error)) from error
    except store_errors() as error:
        raise ServerAwayError(first_line(error)) from error


def _lost_a_race(error: Exception) -> bool:
    """Return whether another run added a row, such as a data set's, before MLflow could: it is there next time."""
    return any(reason in str(error) for reason in ("IntegrityError", "UniqueViolation"))


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

        file = folder / event["image"]
        if not file.resolve().is_relative_to(folder.resolve()):
            raise ServerRejectedError(f"{file}: an image outside of the run's folder")
        with Image.open(file) as image:
            client.log_image(run_id, np.asarray(image), key=event["key"], step=event["step"], timestamp=event["time"])


def complete(mlflow: ModuleType, about: SpooledRun, folder: Path, record: Path) -> None:
    """Log the model and the artifacts in `record` of a run whose events are all delivered, and end it. Raises
    `store_errors()`.
    """
    client, end = mlflow.MlflowClient(), read_events(folder)[-1]
    if end["end"] == "FINISHED":
        if (record / MODEL).exists():
            with mlflow.start_run(run_id=about.run, nested=True, log_system_metrics=False):  # in a run of the caller's
                _log_model(mlflow, record / MODEL, about.backend or "tensorflow")
        for path in record.iterdir():
            if path.name != MODEL:
                client.log_artifact(about.run, str(path))
        if (record / "predictions.parquet").exists():  # as a table that the UI shows
            client.log_table(about.run, _shown_predictions(record / "predictions.parquet"), "predictions.json")
    client.set_terminated(about.run, end["end"], end_time=end["time"])


def _shown_predictions(file: Path) -> pd.DataFrame:
    """The first predictions, with what a person looks for in them."""
    import pandas as pd

    table = pd.read_parquet(file)
    return table[[name for name in SHOWN_COLUMNS if name in table]].head(MAX_SHOWN)


def _log_model(mlflow: ModuleType, file: Path, backend: str) -> None:
    """Log a Keras model to the active run, signed for pixels as images have them: uint8 (n, side, side, 3).

    Requirements are named, because guessing them takes MLflow ten seconds. Raises TrackingError for a file that Keras
    does not load in safe mode.
    """
    os.environ.setdefault("KERAS_BACKEND", backend)
    with quiet_stderr():  # the first import, where an earlier run is delivered
        from ..models.weights import load_model
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    try:
        model = load_model(file, compiled=True)
    except ValueError as error:
        raise TrackingError(f"{file}: is not delivered: {error}") from None
    logging.getLogger("mlflow").setLevel(logging.ERROR)  # advice to give an input example
    mlflow.keras.log_model(
        model,
        name="model",
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, *model.input_shape[1:]))]),
            outputs=Schema([TensorSpec(np.dtype("float32"), (-1, 1))]),
        ),
        pip_requirements=[f"{package}=={version(package)}" for package in ("keras", backend)],
    )


def unsent_folders(root: Path) -> list[Path]:
    """The folders below `root` of runs that a store does not have whole, and of those still going."""
    return sorted(file.parent for file in root.glob(f"*/{RUN_FILE}"))


def sync(folder: Path) -> str | None:
    """Deliver the rest of a run, remove its folder and return the run's id; empty where its store made none, None for
    one that is still going.

    A run whose process ended without a word becomes KILLED. Raises TrackingError where the store does not take it.
    """
    about = read_spooled_run(folder)
    mlflow = open_store(TrackingConfig("server", uri=about.uri, experiment=about.experiment))
    try:
        with locked(folder):
            about = replace(about, run=about.run or _run_of(mlflow, about, folder.name))
            # A job whose machine was lost may have been finished elsewhere.
            if about.run and mlflow.get_run(about.run).info.status != "FINISHED":
                _sync(mlflow, about, folder)
            discard(folder)
    except Timeout:
        return None
    except store_errors() as error:
        raise TrackingError(f"{folder}: the tracking store did not take all of it: {first_line(error)}") from error
    return about.run


def _run_of(mlflow: ModuleType, about: SpooledRun, folder: str) -> str:
    """The id of the run that a process made in the store and did not write down; empty where it made none."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(about.experiment).experiment_id
    found = client.search_runs([experiment], f"tags.`{TAG}` = '{folder}'", max_results=1)
    return checked_id(found[0].info.run_id) if found else ""


def discard(folder: Path) -> None:
    """Remove the folder of a run that its store has whole."""
    (folder / RUN_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _sync(mlflow: ModuleType, about: SpooledRun, folder: Path) -> None:
    finished = any(event.get("end") == "FINISHED" for event in read_events(folder))
    record = artifacts_of(folder, about) if finished else about.record
    spool = Spool(folder, lambda events: deliver(mlflow, about.run, folder, events))
    if not spool.events or "end" not in spool.events[-1]:
        spool.add({"tags": {"failure": "its process ended without a word"}})
        spool.add({"end": "KILLED", "time": milliseconds()})
    if not spool.close(SYNC_PATIENCE_SECONDS):
        raise TrackingError(f"{folder}: {spool.rejected or 'the tracking store does not answer'}")
    complete(mlflow, about, folder, record)


def dataset_inputs(name: str, digest: str, split_digests: Mapping[str, str], source: str) -> list[Any]:
    """The parts of a data set as MLflow's inputs of a run."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    inputs = []
    for split, split_digest in split_digests.items():
        origin = CodeDatasetSource(tags={"source": source, "digest": digest})
        meta = MetaDataset(source=origin, name=f"{name}-{split}", digest=split_digest[:36])  # type: ignore[abstract]
        context = InputTag(MLFLOW_DATASET_CONTEXT, SPLIT_CONTEXTS.get(split, split))
        inputs.append(DatasetInput(meta._to_mlflow_entity(), [context]))
    return inputs
