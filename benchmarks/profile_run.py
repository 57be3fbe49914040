"""Where the seconds of a run go, part by part: `python -m benchmarks.profile_run [OVERRIDE ...]`.

Each part is a function of the way of a run, timed by the clock and by the processor (all threads of this process); the
data and the store are made before. `PROFILE.md` holds what it found.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.composing import compose_config

BEFORE_KERAS = {
    "listing and opening the data": "src.data.prepared.prepare",
    "data report": "src.reports.data_report.data_report",
    "importing TensorFlow and Keras": "src.training.backend.start_backend",
}
WITH_KERAS = {
    "model and its cost": "src.models.classifier.create_classifier",
    "fit": "src.training.fit.fit",
    "- of which after each epoch: metrics, grid of images": "src.training.record.Record.epoch",
    "saving the model": "src.training.record.Record.fit",
    "evaluation": "src.evaluation.evaluation.evaluate_model",
}


@dataclass
class Parts:
    """Seconds by the clock and of the processor, by part."""

    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)

    def watch(self, name: str, place: str, after: Callable[[], None] | None = None) -> None:
        """Time every call of the function at `place`, and call `after` when the first is over."""
        owner, attribute = _owner(place)
        original = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            clock, processor = time.perf_counter(), time.process_time()
            try:
                return original(*args, **kwargs)
            finally:
                earlier = self.seconds.get(name, (0.0, 0.0))
                spent = (time.perf_counter() - clock, time.process_time() - processor)
                self.seconds[name] = (earlier[0] + spent[0], earlier[1] + spent[1])
                if after:
                    after()

        setattr(owner, attribute, timed)


def _owner(place: str) -> tuple[Any, str]:
    path, _, attribute = place.rpartition(".")
    try:
        return importlib.import_module(path), attribute
    except ModuleNotFoundError:
        module, _, owner = path.rpartition(".")
        return getattr(importlib.import_module(module), owner), attribute


def main(*overrides: str) -> None:
    """Train once and print the parts."""
    parts = Parts()

    def watch_the_rest() -> None:
        for name, place in WITH_KERAS.items():
            parts.watch(name, place)

    with tempfile.TemporaryDirectory() as folder:
        source = ["dataset.synthetic.count=800", "dataset.image_size=64", "trainer.epochs=3"]
        source += [f"dataset.cache={folder}/cache", f"tracking.uri=sqlite:///{folder}/store/mlflow.db"]
        config = compose_config(*source, *overrides)
        started, processor = time.perf_counter(), time.process_time()
        from src.data.prepared import prepare
        from src.reports.data_report import data_report

        parts.seconds["importing what reads data"] = (time.perf_counter() - started, time.process_time() - processor)
        data_report(prepare(config.dataset), config.dataset)
        started, processor = time.perf_counter(), time.process_time()
        for name, place in BEFORE_KERAS.items():
            parts.watch(name, place, watch_the_rest if "Keras" in name else None)
        from src.training.run import train

        train(config)
        parts.seconds["the whole run"] = (time.perf_counter() - started, time.process_time() - processor)
    table = Table("part", "seconds", "of the processor")
    for name, (clock, of_processor) in parts.seconds.items():
        table.add_row(name, f"{clock:.2f}", f"{of_processor:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
