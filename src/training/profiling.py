"""A trace of some training steps that a person can open, and which parts of a step their time goes to."""

from __future__ import annotations

import contextlib
import gzip
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

FIRST_STEP, STEPS = 3, 10  # the first steps allocate memory and choose kernels
TRACE, PARTS_FILE = "trace.json.gz", "parts.json"
PARTS = ("data", "forward", "backward", "update")
_DATA = ("gatherv2", "pyfunc", "augmentation")
_UPDATE = ("assign", "resourceapply", "adam/", "adamw/", "sgd/")
"""What the names of operations hold, in lower case."""

Event = dict[str, Any]


class ProfileSteps(keras.callbacks.Callback):
    """Traces steps of the first epoch and writes `trace.json.gz` into `folder`, to be opened at ui.perfetto.dev or
    chrome://tracing; under TensorFlow also `parts.json`, the seconds of PARTS, which one line on `console` tells.

    An epoch of fewer steps is traced as far as it goes; steps that are executed together are traced together.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        super().__init__()
        self.folder, self.console = folder, console
        self.open = contextlib.ExitStack()
        self.raw: Path | None = None
        self.done = False

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        together = self.model.steps_per_execution
        last = ((self.params["steps"] or 1) - 1) // together * together
        if self.raw is None and not self.done and batch >= min(FIRST_STEP, last):
            self.raw = Path(self.open.enter_context(tempfile.TemporaryDirectory(prefix="happy-sad-")))
            self.first = batch
            _start(self.raw)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.raw is not None and batch - self.first + 1 >= STEPS:
            self._finish(batch - self.first + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.raw is not None:
            self._finish((self.params["steps"] or 1) - self.first)

    def _finish(self, steps: int) -> None:
        raw, self.raw, self.done = self.raw, None, True
        assert raw is not None  # noqa: S101 - for the type checker
        _stop()
        events = _events(raw)
        self.folder.mkdir(parents=True, exist_ok=True)
        with gzip.open(self.folder / TRACE, "wt") as file:
            json.dump({"traceEvents": events}, file)
        parts = seconds_by_part(events)
        if sum(parts.values()):
            (self.folder / PARTS_FILE).write_text(json.dumps({"steps": steps, "seconds": parts}, indent=1))
            self.console.print(_sentence(parts, steps), highlight=False, soft_wrap=True)
        self.open.close()


def _start(folder: Path) -> None:
    if keras.backend.backend() == "jax":
        import jax

        jax.profiler.start_trace(str(folder))
        return
    import tensorflow as tf

    tf.profiler.experimental.start(str(folder))


def _stop() -> None:
    if keras.backend.backend() == "jax":
        import jax

        jax.profiler.stop_trace()
        return
    import tensorflow as tf

    tf.profiler.experimental.stop()


def _events(folder: Path) -> list[Event]:
    """What was traced, as Chrome's trace events. JAX writes them itself."""
    for file in folder.rglob("*.trace.json.gz"):
        with gzip.open(file, "rt") as stream:
            found: list[Event] = json.load(stream)["traceEvents"]
        return found
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    events: list[Event] = []
    for file in folder.rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace()
        space.ParseFromString(file.read_bytes())
        for number, plane in enumerate(space.planes):
            events += _of_plane(plane, number)
    return events


def _of_plane(plane: Any, process: int) -> Iterator[Event]:
    """Times in microseconds, as the format has it."""
    yield {"ph": "M", "name": "process_name", "pid": process, "args": {"name": plane.name}}
    for thread, line in enumerate(plane.lines):
        name = line.display_name or line.name
        yield {"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": name}}
        for event in line.events:
            start = line.timestamp_ns / 1e3 + event.offset_ps / 1e6
            name = plane.event_metadata[event.metadata_id].name
            yield {"ph": "X", "name": name, "pid": process, "tid": thread, "ts": start, "dur": event.duration_ps / 1e6}


def seconds_by_part(events: list[Event]) -> dict[str, float]:
    """Seconds of TensorFlow's operations in each of PARTS; an operation is traced as `name:Kind`, what runs it is not.

    Backward operations stand below `gradient_tape`, those of the optimizer below its name; data are images that are
    gathered, augmented, or fed from Python.
    """
    seconds: dict[str, float] = defaultdict(float)
    for event in events:
        name = event["name"]
        if event["ph"] == "X" and ":" in name and "::" not in name and ": " not in name:
            seconds[_part(name.lower())] += event["dur"] / 1e6
    return {part: seconds[part] for part in PARTS}


def _part(name: str) -> str:
    if "gradient_tape" in name:
        return "backward"
    if any(mark in name for mark in _UPDATE):
        return "update"
    return "data" if any(mark in name for mark in _DATA) else "forward"


def _sentence(parts: Mapping[str, float], steps: int) -> str:
    total = sum(parts.values())
    shares = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in parts.items())
    return f"profile of {steps} steps: {1000 * total / steps:.0f} ms of operations a step: {shares}"
