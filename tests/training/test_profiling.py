from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from src.config import Config
from src.data.prepared import prepare
from src.models.classifier import create_classifier
from src.training.backend import reset
from src.training.fit import fit
from src.training.profiling import seconds_by_part


@pytest.mark.parametrize(("together", "traced"), [(1, 4), (3, 4), (8, 7)])
def test_a_profile_can_be_opened_and_names_the_parts_of_a_step(
    make_config: Callable[..., Config], tmp_path: Path, together: int, traced: int
) -> None:
    config = make_config("trainer.epochs=1", "dataset.synthetic.count=80", "trainer.batch_size=8")
    config = replace(config, trainer=replace(config.trainer, steps_per_execution=together))
    reset(0, "float32")
    classifier = create_classifier(config.model, config.dataset.image_size)
    said = Console(file=io.StringIO(), width=200)
    fit(classifier, prepare(config.dataset), config, report=lambda *_: None, console=said, profile=tmp_path / "profile")
    with gzip.open(tmp_path / "profile" / "trace.json.gz", "rt") as file:
        events = json.load(file)["traceEvents"]
    assert {event["ph"] for event in events} == {"M", "X"}
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")
    parts = json.loads((tmp_path / "profile" / "parts.json").read_text())
    assert parts["seconds"] == seconds_by_part(events)
    assert all(seconds > 0 for seconds in parts["seconds"].values())
    assert parts["seconds"]["backward"] > parts["seconds"]["update"]
    assert f"profile of {traced} steps" in said.file.getvalue()


def test_operations_are_told_from_what_runs_them() -> None:
    names = ("Call/gradient_tape/net/conv/Conv2DBackpropFilter:Conv", "Call/net/conv/Relu:Conv", "Call/adam/Mul:Mul")
    names += ("Call/GatherV2:GatherV2", "ExecutorState::Process", "EagerLocalExecute: __inference_step", "multi_step")
    events = [{"ph": "X", "name": name, "dur": 1e6 * 2**place} for place, name in enumerate(names)]
    assert seconds_by_part(events) == {"data": 8.0, "forward": 2.0, "backward": 1.0, "update": 4.0}
