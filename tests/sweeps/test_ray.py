"""Sweeps and searches on a Ray cluster of two nodes, one of which is lost."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from src import train, tune
from src.config import Config, SourceConfig, SyntheticConfig
from src.data.prepared import prepare
from src.errors import ClusterError
from src.ray_cluster import QUIET, connect
from src.sweeps.ray_pool import environment
from src.tracking.store import open_store
from tests.composing import BRIEF_EVALUATION
from tests.image_files import class_folders, config_of

pytestmark = pytest.mark.integration

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

EPOCHS = 15
SMALL = ["model=mobile", "model.filters=[8]", "dataset.synthetic.count=32", "dataset.image_size=32"]
SMALL += ["trainer.batch_size=8", *BRIEF_EVALUATION]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes of one processor each on this machine, Ray's own way of testing; the first one is the head."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as environ:
        for name, value in {**QUIET, "HOME": str(home)}.items():
            environ.setenv(name, value)
        import ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        cluster.add_node(num_cpus=1, object_store_memory=node["object_store_memory"])
        yield cluster
        ray.shutdown()
        cluster.shutdown()
    assert not list(home.rglob("*ray*"))


def children(config: Config) -> list[Any]:
    runs = open_store(config.tracking).search_runs(output_format="list")
    return [run for run in runs if "role" not in run.data.tags]


def test_images_decoded_on_a_cluster_that_loses_a_node_are_the_same(cluster: Cluster, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "photos", count=60)
    (root / "sad" / "text.png").write_text("no image")
    photos = SourceConfig("photos", "folder", str(root))
    faces = SourceConfig("faces", "synthetic", synthetic=SyntheticConfig(count=400))
    config = config_of(None, tmp_path / "here", source="combined", sources={"photos": photos, "faces": faces})
    here = prepare(config)
    node = next(iter(cluster.worker_nodes))
    seen: list[int] = []

    def report(done: int, total: int) -> None:
        seen.append(done)
        if done == 100:
            cluster.remove_node(node, allow_graceful=False)

    remote = replace(config, cache=str(tmp_path / "there"), cluster=cluster.address)
    there = prepare(remote, report_progress=report)
    cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    assert seen == list(range(1, 522))
    assert (there.digest, there.split_digests) == (here.digest, here.split_digests)
    assert np.array_equal(there.images, here.images)
    pd.testing.assert_frame_equal(there.table, here.table)
    pd.testing.assert_frame_equal(there.rejected, here.rejected)


def test_a_sweep_outlives_a_node_and_each_job_shows_up_once(
    cluster: Cluster,
    make_config: Callable[..., Config],
    sandbox: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = make_config()
    lost: list[int] = []

    def lose_a_node() -> None:
        deadline = time.monotonic() + 600  # beside other work
        while time.monotonic() < deadline and not lost:
            going = [run for run in children(config) if run.info.status == "RUNNING" and "loss" in run.data.metrics]
            if len(going) == 2:  # one on each node
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                lost.append(len(going))
            time.sleep(0.1)

    arguments = ["-m", "seed=0,1", "hydra/launcher=ray", f"cluster.address={cluster.address}", "sweep.n_jobs=2"]
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "src/train.py",
            *arguments,
            *SMALL,
            f"trainer.epochs={EPOCHS}",
            "trainer.early_stopping=0",
            "evaluation.figures=true",
            *sandbox,
        ],
    )
    thread = threading.Thread(target=lose_a_node, daemon=True)
    thread.start()
    train.main()
    thread.join()
    assert lost
    assert "[2/2]" in capfd.readouterr().out
    (parent,) = open_store(config.tracking).search_runs(filter_string="tags.role = 'sweep'", output_format="list")
    jobs = children(config)
    assert parent.info.status == "FINISHED"
    assert sorted(job.data.params["seed"] for job in jobs) == ["0", "1"]
    assert {(job.info.status, job.data.tags["mlflow.parentRunId"]) for job in jobs} == {
        ("FINISHED", parent.info.run_id)
    }
    client = open_store(config.tracking).MlflowClient()
    for job in jobs:
        history = client.get_metric_history(job.info.run_id, "loss")
        assert [point.step for point in history] == list(range(1, EPOCHS + 1))
        images = client.list_artifacts(job.info.run_id, "images")
        assert len([image for image in images if image.path.endswith(".png")]) == EPOCHS


def test_a_search_runs_its_trials_on_the_cluster(
    cluster: Cluster,
    make_config: Callable[..., Config],
    sandbox: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    experiments_found: str,
) -> None:
    arguments = [f"cluster.address={cluster.address}", "tuner.backend=ray", "tuner.max_trials=1", "space=optimizer"]
    arguments += [*SMALL, "trainer.epochs=1", f"output={tmp_path}/search", "tuner.save_as=on_ray_by_a_test"]
    monkeypatch.setattr(sys, "argv", ["src/tune.py", *arguments, *sandbox])
    tune.main()
    make_config("experiment=tuned_on_ray_by_a_test", experiments_found, tiny=False)
    trials = children(make_config())
    assert [trial.info.status for trial in trials] == ["FINISHED"]
    assert all(trial.data.tags["sweep.job"] for trial in trials)


def test_what_makes_a_job_goes_along_and_secrets_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hidden")
    monkeypatch.setenv("EDITOR", "ed")
    passed = environment()
    assert passed["KERAS_BACKEND"] == "tensorflow"
    assert not {"MLFLOW_TRACKING_PASSWORD", "EDITOR"} & set(passed)


def test_a_cluster_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ClusterError, match=r"^cluster.address=127.0.0.1:9: .*refused"):
        connect("127.0.0.1:9", "cluster.address")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"needs ray: pip install .*\[cluster\]"):
        connect(None, "cluster.address")
