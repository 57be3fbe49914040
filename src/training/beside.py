"""A process beside the training that records it: it imports MLflow while this one imports TensorFlow, and it draws.

`start_ahead` starts it as early as possible; `run_beside` opens a run in it. What is recorded goes there as messages,
in order. Where this process ends without a word, so does the other one, and leaves what a killed run leaves.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import PACKAGE, Config
from ..errors import TrackingError, UserError
from ..tracking.beginning import Opened
from ..tracking.delivery import keep_model
from ..tracking.link import RunLink
from ..tracking.recording import Run, TrackedRun, start_run

if TYPE_CHECKING:
    import keras

    from ..data.prepared import PreparedDataset

EARLY = ("mlflow.store.tracking.sqlalchemy_store", "mlflow.models", "mlflow.pyfunc")
LATE = ("matplotlib.backends.backend_agg", "matplotlib.layout_engine", "..evaluation.artifacts")
"""What the other process imports before a run is opened, and after."""

_waiting: list[Recorder] = []


class Recorder:
    """The other process, as this one sees it."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        command = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); from {__name__} import serve; serve()"
        # Its own session: Ctrl-C reaches this process, which says how the run ended.
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-c", command, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()

    def send(self, *message: Any) -> None:
        """Send a message. Raises what has gone wrong there since, TrackingError where the process is gone."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if not self.connection.poll():
                self.connection.send(message)
                return
        self.receive()

    def receive(self) -> Any:
        """Its next answer. Raises what has gone wrong there."""
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.wait()
            raise TrackingError(
                "the process that records the run was ended from outside; resume=auto goes on"
            ) from None
        if isinstance(answer, BaseException):
            raise answer
        return answer


class RunBeside(Run):
    """A run that another process records."""

    def __init__(self, recorder: Recorder, opened: Opened) -> None:
        super().__init__(opened.folder)
        self.recorder, self.opened = recorder, opened
        self.id, self.checkpoint = opened.id, opened.checkpoint

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self.recorder.send("log_metrics", dict(metrics), step)

    def log_image(self, key: str, image: np.ndarray, step: int) -> None:
        self.recorder.send("log_image", key, image, step)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.recorder.send("set_tags", dict(tags))

    def log_dataset(self, dataset: PreparedDataset, source: str) -> None:
        self.recorder.send("log_dataset", dataset.outline(), source)

    def log_model(self, model: keras.Model, example: np.ndarray) -> None:
        if self.opened.model is not None:
            keep_model(self.opened.model, model, example)

    def write(self, module: str, function: str, *arguments: Any) -> None:
        self.recorder.send("write", module, function, *arguments)


def start_ahead(config: Config) -> None:
    """Start the process, unless nothing is to be recorded, MLflow is imported here already, or the system is Windows,
    where a process gets no open pipe.
    """
    if config.tracking.name != "off" and "mlflow" not in sys.modules and os.name == "posix" and not _waiting:
        recorder = Recorder()
        atexit.register(recorder.process.kill)  # where no run comes to be opened
        _waiting.append(recorder)


@contextlib.contextmanager
def run_beside(config: Config, name: str, tags: Mapping[str, str], link: RunLink | None = None) -> Iterator[Run]:
    """`start_run` in the process that `start_ahead` has started, or here where it has not."""
    if not _waiting:
        with start_run(config, name, tags, link) as run:
            yield run
        return
    recorder = _waiting.pop()
    recorder.send(config, name, tags, link)
    run = RunBeside(recorder, recorder.receive())
    ended = ("FINISHED", "")
    try:
        yield run
    except KeyboardInterrupt:
        ended = ("KILLED", "")
        raise
    except BaseException as error:
        ended = (type(error).__name__, str(error))
        raise
    finally:
        recorder.send("end", *ended)
        recorder.receive()
        recorder.process.wait()


def serve() -> None:
    """The other process: open a run, do what is asked, and say how it ended."""
    connection = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    _import(EARLY)
    try:
        config, name, tags, link = connection.recv()
    except EOFError:
        return
    try:
        with start_run(config, name, tags, link) as run:
            assert isinstance(run, TrackedRun)  # noqa: S101 - for the type checker
            connection.send(run.opened)
            _import(LATE)
            _obey(connection, run)
        answer: Any = "ended"
    except (_EndedError, KeyboardInterrupt):
        answer = "ended"
    except UserError as error:
        answer = error
    except BaseException:  # noqa: BLE001 - the other process raises it
        answer = RuntimeError(traceback.format_exc())
    with contextlib.suppress(OSError):
        connection.send(answer)


def _end_with(parent: int) -> None:
    """End this process as soon as its parent is gone, whatever it is doing: until then the run counts as going on."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)  # as a killed run: the next start closes it


class _EndedError(Exception):
    """A run whose training has raised something."""


def _obey(connection: Connection, run: TrackedRun) -> None:
    """Do what comes until the end. Raises KeyboardInterrupt or an error of the name that the training's had."""
    while True:
        try:
            what, *arguments = connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            os._exit(1)  # as a killed run: the next start closes it
        if what != "end":
            getattr(run, what)(*arguments)
            continue
        status, reason = arguments
        if status == "KILLED":
            raise KeyboardInterrupt
        if status != "FINISHED":
            raise type(status, (_EndedError,), {})(reason)
        return


def _import(names: tuple[str, ...]) -> None:
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name, __package__)
