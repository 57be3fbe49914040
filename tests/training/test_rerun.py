"""A recorded run repeated: what differs is said, and the result is compared."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from src.config import RerunConfig
from src.errors import RerunError
from src.tracking.read import RecordedRun, find_run
from src.training import rerun as module
from src.training.rerun import compare, differences, rerun
from src.training.run import TrainResult
from tests.trained_model import Trained, train_small

TAGS = {"backend": "tensorflow", "data.test": "0a", "version.keras": "3.15.1", "git.dirty": "false", "command": "x"}


def test_a_run_repeated_where_nothing_differs_has_the_same_weights(
    trained: Trained, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = find_run(trained.tracking, trained.run_id)
    present = {key: value for key, value in run.tags.items() if key.startswith(("git.", "version."))}
    monkeypatch.setattr(module, "_present", lambda recipe, made=module._present: {**made(recipe), **present})
    assert run.tags["config.digest"]
    assert rerun(RerunConfig(trained.tracking, run=trained.run_id)).identical
    said = capsys.readouterr().out
    assert "the same weights, bit for bit" in said
    different = [line for line in said.splitlines() if line.startswith("  ")]
    assert all(line.startswith("  git.dirty: true") for line in different)  # a tree with changes is never "the same"


def test_what_differs_is_listed_one_by_one() -> None:
    assert differences(TAGS, TAGS) == []
    now = {**TAGS, "version.keras": "3.16.0", "data.test": "0b", "command": "y"}
    assert differences(TAGS, now) == ["data.test: 0a then, 0b now", "version.keras: 3.15.1 then, 3.16.0 now"]
    assert differences({**TAGS, "git.dirty": "true"}, {**TAGS, "git.dirty": "true"}) == [
        "git.dirty: true then, true now"
    ]


def test_a_run_that_came_from_others_is_repeated_from_these_whatever_leads_there_now(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["trainer.epochs=1", "seed=3", "model.weights=latest"]
    second = train_small([*trained.overrides, *few])
    assert find_run(trained.tracking, second).tags["weights.from"] == trained.run_id
    assert rerun(RerunConfig(trained.tracking, run=second)).identical
    assert "data." not in capsys.readouterr().out.partition("the same weights")[0]


@pytest.mark.parametrize(
    ("changed", "accuracy", "said"),
    [
        ({"version.keras": "3.14.0"}, 0.8, None),
        ({"version.keras": "3.14.0"}, 0.5, "accuracy outside the recorded intervals"),
        ({}, 0.8, "other weights, although data, code, versions and device are the same"),
    ],
)
def test_other_weights_are_taken_only_for_a_reason_and_within_the_interval(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], accuracy: float, said: str | None
) -> None:
    run = find_run(trained.tracking, trained.run_id)
    metrics = {"test/accuracy": 0.8, "test/accuracy_low": 0.7, "test/accuracy_high": 0.9}
    recorded = replace(run, metrics=metrics, tags={**run.tags, "git.dirty": "false", **changed})
    result: Any = SimpleNamespace(weights_digest="other", scores={"test/accuracy": accuracy})
    assert _compared(recorded, result) == ([] if accuracy == 0.8 else ["accuracy"])
    monkeypatch.setattr("src.training.rerun.find_run", lambda *_: recorded)
    monkeypatch.setattr(module, "_present", lambda _: {**run.tags, "git.dirty": "false"})
    monkeypatch.setattr("src.training.rerun.train", lambda _, **__: result)
    if said is None:
        assert not rerun(RerunConfig(trained.tracking, run=trained.run_id)).identical
    else:
        with pytest.raises(RerunError, match=said):
            rerun(RerunConfig(trained.tracking, run=trained.run_id))


def _compared(run: RecordedRun, result: TrainResult) -> list[str]:
    return compare(run, result).outside


def test_a_run_without_weights_cannot_be_repeated(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    run = find_run(trained.tracking, trained.run_id)
    monkeypatch.setattr("src.training.rerun.find_run", lambda *_: replace(run, tags={}))
    with pytest.raises(RerunError, match="nothing to compare with"):
        rerun(RerunConfig(trained.tracking, run=trained.run_id))
