"""`hydra/launcher=workers` and `=ray` pass Hydra's own tests of launchers, Ray's on a cluster of one node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite
from hydra.version import _UNSPECIFIED_, VersionBase

from src.config import PROJECT_ROOT
from src.ray_cluster import QUIET

pytestmark = pytest.mark.integration
LAUNCHERS = ("workers", "ray")


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The cluster that RAY_ADDRESS names, so that not every launch starts a Ray of its own."""
    with pytest.MonkeyPatch.context() as environ:
        for name, value in {**QUIET, "HOME": str(tmp_path_factory.mktemp("home"))}.items():
            environ.setenv(name, value)
        from ray.cluster_utils import Cluster

        started = _start(Cluster)
        environ.setenv("RAY_ADDRESS", started.address)
        yield
        started.shutdown()


def _start(cluster: Any) -> Any:
    """A cluster of one node; Ray gives a node 30 seconds, which a busy machine may not have."""
    node = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    for _ in range(4):
        try:
            return cluster(initialize_head=True, head_node_args=node)
        except Exception as error:  # noqa: BLE001 - a bare one
            late = error
    raise late


@pytest.fixture(autouse=True)
def no_version_of_hydra_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra's suites expect a process in which no config was composed for a version, as other tests do."""
    monkeypatch.setattr(VersionBase.instance(), "version_base", _UNSPECIFIED_)


@pytest.mark.parametrize(("launcher_name", "overrides"), [(name, []) for name in LAUNCHERS])
class TestLauncher(LauncherTestSuite):
    """Hydra's tests of any launcher."""


# The suite extends the list that it is given: each launcher has its own.
@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [(name, ["hydra.sweeper.max_batch_size=2"]) for name in LAUNCHERS]
)
class TestBatches(BatchedSweeperTestSuite):
    """Hydra's tests of a launcher that gets its jobs in several batches."""


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"), [({}, ["-m", f"hydra/launcher={name}"]) for name in LAUNCHERS]
)
class TestPrograms(IntegrationTestSuite):
    """Hydra's tests of programs that use a launcher."""

    @pytest.fixture(autouse=True)
    def plugins_of_the_checkout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))
