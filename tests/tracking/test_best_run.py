"""Which recorded run `run=best` and `run=latest` name."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from src.config import TrackingConfig
from src.errors import TrackingError
from src.tracking.read import BEST_BY, TIE_BY, find_run


def record(
    store: TrackingConfig,
    name: str,
    accuracy: float,
    trainer: str = "default",
    *,
    overfit: str = "False",
    end: str = "",
    loss: float = 0.5,
) -> None:
    """A run with what choosing one looks at; all were validated on the same images."""
    client = MlflowClient(store.uri)
    found = client.get_experiment_by_name(store.experiment)
    experiment = found.experiment_id if found else client.create_experiment(store.experiment)
    run = client.create_run(experiment, run_name=name, tags={"data.validation": "digest"})
    params = [Param("trainer.name", trainer), Param("trainer.overfit", overfit)]
    client.log_batch(run.info.run_id, [Metric(BEST_BY, accuracy, 1, 0), Metric(TIE_BY, loss, 1, 0)], params)
    client.set_terminated(run.info.run_id, end or "FINISHED")


def test_debug_overfit_and_failed_runs_never_compete_for_the_best(tmp_path: Path) -> None:
    store = TrackingConfig("local", uri=f"sqlite:///{tmp_path}/runs.db", experiment="runs")
    record(store, "debug", 0.99, "debug")
    with pytest.raises(TrackingError, match="trainer=debug and overfit do not compete"):
        find_run(store, "best")
    record(store, "good", 0.8)
    record(store, "worse", 0.7)
    record(store, "failed", 0.95, end="FAILED")
    record(store, "overfit", 1.0, "overfit", overfit="True")
    record(store, "one-batch", 1.0, overfit="True")
    record(store, "debug-again", 0.9, "debug")
    assert find_run(store, "best").name == "good"
    assert find_run(store, "latest").name == "debug-again"


def test_of_equal_runs_the_surer_one_is_the_best_and_then_the_first(tmp_path: Path) -> None:
    store = TrackingConfig("local", uri=f"sqlite:///{tmp_path}/runs.db", experiment="runs")
    for name, loss in (("unsure", 0.6), ("first", 0.4), ("later", 0.4)):
        record(store, name, 0.8, loss=loss)
    assert find_run(store, "best").name == "first"
