"""Sweeps handed to a scheduler: submitit's local executor, which runs jobs as Slurm would, on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from src.config import Config
from src.tracking.store import open_store
from src.train import main
from tests.composing import BRIEF_EVALUATION

pytestmark = pytest.mark.integration

SMALL = ["dataset.synthetic.count=32", "dataset.image_size=32", "trainer.batch_size=8", "trainer.epochs=1"]
SMALL += BRIEF_EVALUATION


def test_jobs_given_to_submitit_are_children_of_one_sweep_and_a_failed_one_is_told(
    make_config: Callable[..., Config],
    sandbox: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    arguments = ["-m", "model.filters=[8],[8,8,8,8,8,8]", "hydra/launcher=slurm_local", f"hydra.sweep.dir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["src/train.py", *arguments, *SMALL, *sandbox])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    reason = "ConfigError: dataset.image_size=32: too small"
    assert f"1 of 2 jobs failed: 'model.filters=[8,8,8,8,8,8]': {reason}" in capfd.readouterr().err
    mlflow = open_store(make_config().tracking)
    runs = mlflow.search_runs(output_format="list")
    (parent,) = [run for run in runs if run.data.tags.get("role") == "sweep"]
    (done,) = [run for run in runs if run.info.status == "FINISHED"]
    assert parent.info.status == "FAILED"
    assert parent.data.metrics == {"sweep/finished": 1.0, "sweep/failed": 1.0}
    assert done.data.params["model.filters"] == "[8]"
    assert done.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert "parent" not in done.info.run_name
