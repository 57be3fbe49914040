"""`hydra/launcher=workers` is a launcher like any other: callbacks, folders, optimizing sweepers."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.version import _UNSPECIFIED_, VersionBase

import hydra_plugins
from src.config import Config
from src.tracking.store import open_store
from src.train import main
from tests.composing import BRIEF_EVALUATION

SMALL = ["model=mobile", "model.filters=[8]", "dataset.synthetic.count=32", "dataset.image_size=32"]
SMALL += ["trainer.batch_size=8", "trainer.epochs=1", *BRIEF_EVALUATION]


@pytest.fixture(autouse=True)
def no_version_of_hydra_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra's plugins expect a process in which no config was composed for a version, as other tests do."""
    monkeypatch.setattr(VersionBase.instance(), "version_base", _UNSPECIFIED_)


class Climber(Sweeper):
    """Tries two learning rates, then two near the better one, as an optimizing sweeper does."""

    asked: ClassVar[list[tuple[float, float]]] = []

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        rates = [1e-5, 1e-3]
        for _ in range(2):
            batch = [[*arguments, f"optimizer.learning_rate={rate}"] for rate in rates]
            returns = self.launcher.launch(batch, initial_job_idx=len(self.asked))
            self.asked.extend(zip(rates, [each.return_value for each in returns], strict=True))
            best = max(self.asked, key=lambda pair: pair[1])[0]
            rates = [best * 0.5, best * 2]


@pytest.fixture
def climber(hydra_restore_singletons: None, monkeypatch: pytest.MonkeyPatch) -> type[Climber]:
    module = types.ModuleType("hydra_plugins.climber")  # Hydra takes plugins from there alone
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(hydra_plugins, "climber", module, raising=False)
    monkeypatch.setattr(module, "Climber", Climber, raising=False)
    monkeypatch.setattr(Climber, "__module__", module.__name__)
    Plugins.instance().register(Climber)
    node = {"_target_": "hydra_plugins.climber.Climber"}
    ConfigStore.instance().store(group="hydra/sweeper", name="climber", node=node)
    Climber.asked.clear()
    return Climber


def sweep(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["src/train.py", "-m", *arguments, *SMALL])
    main()


def children(config: Config) -> list[Any]:
    runs = open_store(config.tracking).search_runs(output_format="list", order_by=["attributes.start_time"])
    return [run for run in runs if "role" not in run.data.tags]


def test_an_optimizing_sweeper_gets_validation_scores_and_all_its_batches_are_one_sweep(
    climber: type[Climber],
    make_config: Callable[..., Config],
    sandbox: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    sweep(monkeypatch, ["hydra/sweeper=climber", f"hydra.sweep.dir={tmp_path}/sweep", "sweep.n_jobs=2", *sandbox])
    runs = children(make_config())
    recorded = {
        float(run.data.params["optimizer.learning_rate"]): run.data.metrics["validation/roc_auc"] for run in runs
    }
    assert dict(climber.asked) == recorded
    assert len(recorded) == 4
    (parent,) = open_store(make_config().tracking).search_runs(
        filter_string="tags.role = 'sweep'", output_format="list"
    )
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {"sweep/finished": 4.0}
    assert {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()} == {"0", "1", "2", "3", "report"}


def test_folders_job_numbers_and_callbacks_are_hydras(
    sandbox: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = ["seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep", "hydra.sweep.subdir=job-${hydra:job.num}"]
    arguments += ["hydra.output_subdir=.hydra", "output=${hydra:runtime.output_dir}/record", "objective=best/val_loss"]
    arguments += ["+hydra.callbacks.info._target_=hydra.experimental.callbacks.PickleJobInfoCallback"]
    sweep(monkeypatch, [*arguments, *sandbox])
    assert (tmp_path / "sweep" / "multirun.yaml").exists()
    for number in (0, 1):
        folder = tmp_path / "sweep" / f"job-{number}"
        assert f"seed: {number}" in (folder / ".hydra" / "config.yaml").read_text()
        assert (folder / "record" / "summary.md").exists()
        returned = pickle.loads((folder / ".hydra" / "job_return.pickle").read_bytes())  # noqa: S301
        assert returned.hydra_cfg.hydra.job.num == number
        assert 0 < returned.return_value < 10


@pytest.mark.parametrize("objective", ["test/accuracy", "validation/rocauc"])
def test_only_a_score_on_validation_can_be_the_objective(
    objective: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        sweep(monkeypatch, [f"objective={objective}", "tracking=off"])
    assert stop.value.code == 2
    assert f"objective={objective}: accepts validation/accuracy" in capsys.readouterr().err
