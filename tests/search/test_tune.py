"""`python -m src.tune`: trials are ordinary runs below one parent, budgets hold, and the winner repeats."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from src.config import Config
from src.tracking.store import open_store
from src.training.run import train
from src.tune import main
from tests.composing import BRIEF_EVALUATION

pytestmark = pytest.mark.usefixtures("experiments_found")  # also where a mistake is not found, and a search runs

SMALL = ["model=mobile", "dataset.synthetic.count=32", "dataset.image_size=32", "trainer.batch_size=8", "aug=light"]
SMALL += BRIEF_EVALUATION


@pytest.fixture
def arguments(sandbox: list[str], tmp_path: Path) -> list[str]:
    return [*SMALL, *sandbox, f"output={tmp_path}/search", "tuner.save_as=by_a_test"]


def runs(config: Config, query: str) -> list:
    found = open_store(config.tracking).search_runs(filter_string=query, output_format="list")
    return sorted(found, key=lambda run: run.info.start_time)


def test_hyperband_goes_on_from_weights_rejects_large_models_and_writes_down_a_winner_that_repeats(
    arguments: list[str],
    experiments_found: str,
    make_config: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["src/tune.py", "tuner=hyperband", "trainer.epochs=3", "space=tiny", *arguments])
    monkeypatch.setattr(sys, "argv", [*sys.argv, "tuner.max_trials=4", "tuner.max_parameters=1000", "tuner.workers=2"])
    main()
    said = capfd.readouterr().out
    (parent,) = runs(make_config(), "tags.role = 'tune'")
    trials = runs(make_config(), f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert parent.info.status == "FINISHED"
    assert len(trials) == 4
    assert all(trial.data.params["model.filters"] == "[8]" for trial in trials)
    client = open_store(make_config().tracking).MlflowClient()
    steps = [[point.step for point in client.get_metric_history(trial.info.run_id, "loss")] for trial in trials]
    assert [1] in steps
    assert [2, 3] in steps

    assert [trial.info.status for trial in trials] == ["FINISHED"] * 4
    best = max(trial.data.metrics["best/val_auc"] for trial in trials)
    assert parent.data.metrics["best/val_auc"] == best
    assert "experiment=tuned_by_a_test" in said
    files = Path(open_store(make_config().tracking).artifacts.download_artifacts(run_id=parent.info.run_id))
    assert {path.name for path in (files / "figures").iterdir()} == {
        "optimization_history.png",
        "parallel_coordinates.png",
    }
    (won,) = [trial for trial in trials if trial.info.run_id == parent.data.tags["winner.run"]]
    again = train(make_config("experiment=tuned_by_a_test", experiments_found, "tracking=off", tiny=False))
    assert again.weights_digest == won.data.tags["weights.sha256"]


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        ("tuner.objective=test/accuracy", "the test part is never searched on"),
        ("+space.modle={choice: [deep]}", "modle: no such key"),
        ("trainer=overfit", "trainer=overfit validates no trial; use trainer=default"),
        ("+space.trainer={choice: [default, overfit]}", "trainer=overfit, which the space tries: trainer.overfit=true"),
        ("space.aug.choice=[]", "space.aug: choice=[] has no value to try"),
        ("+space.aug.step=2", "space.aug: step has no meaning beside a choice"),
        ("+space={optimizer.learning_rate: {step: 1e-4}}", "step has no meaning with log"),
        ("+space={model.dropout: {min: 0, max: 0.5, step: 0.2}}", "steps of 0.2 do not lead from min=0.0 to max=0.5"),
        ("+space.seed={min: 0.5, max: 4, integer: true}", "integer needs whole numbers as min, max and step"),
        (
            "+space={optimizer.weight_decay: {conditions: {optimizer: [adamax]}}}",
            "optimizer=adamax: accepts adam, adamw",
        ),
        (
            "+space.seed={choice: [1], conditions: {name: [x]}}",
            "space.seed.conditions.name: accepts a key with a choice",
        ),
        ("space.aug.choice=[none,storng]", "aug=storng: accepts light, none, photos, randaugment, strong"),
    ],
)
def test_a_mistake_in_a_search_is_found_before_its_first_trial(
    mistake: str, line: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["src/tune.py", "space=optimizer", mistake, *arguments, "tuner.max_trials=1"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert line in capfd.readouterr().err


def test_a_search_on_top_of_an_experiment_has_its_model(
    sandbox: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["src/tune.py", "experiment=faces_and_photos", "space.aug.choice=[storng]", *sandbox]
    )
    with pytest.raises(SystemExit):
        main()
    assert "aug=storng: accepts" in capfd.readouterr().err  # and not that its model's name is no option
