"""Where a search stops, and what it refuses to train: budgets, failures in a row, caps on a model's size."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from rich.console import Console

from src.config import CONF, Config, ParameterConfig, TuneConfig, TunerConfig
from src.errors import ConfigError, SweepError
from src.search import session
from src.search.oracle import Search, create_oracle
from src.search.report import summary
from src.search.session import Session, check_name, conclude
from src.search.space import hyperparameters, overrides
from src.search.trials import Trials
from src.search.tune import compose_trial
from src.sweeps.jobs import Job, Outcome
from src.sweeps.runner import SweepProgress
from src.training.run import train
from tests.composing import compose_config

SPACE = {
    "model.filters": ParameterConfig(choice=[[8], [512]]),
    "optimizer.learning_rate": ParameterConfig(min=1e-4, max=1e-2, log=True),
}
COMPLETED = Outcome("finished", scores={"best/val_auc": 0.75})
FAILED = Outcome("failed", reason="the loss became nan")


class InstantRunner:
    """Ends each job at once as `outcome` says, so that only the search's own loop runs."""

    parent = None

    def __init__(self, outcome: Callable[[Job], Outcome]) -> None:
        self.outcome = outcome
        self.progress = SweepProgress(1, Console(quiet=True))
        self.running: list[Job] = []
        self.begun: list[Job] = []

    @property
    def has_room(self) -> bool:
        return not self.running

    def start(self, job: Job) -> None:
        self.running.append(job)
        self.begun.append(job)

    def wait(self) -> list[tuple[Job, Outcome]]:
        job = self.running.pop()
        return [(job, self.outcome(job))]

    def interrupt(self) -> list[tuple[Job, Outcome]]:
        return []


def run(folder: Path, outcome: Callable[[Job], Outcome], **limits: float | str) -> tuple[Trials, InstantRunner, str]:
    """The trials, the runner and why the search ended."""
    tuner = TunerConfig(**{"name": "random", **limits})  # type: ignore[arg-type]
    search = Search(create_oracle(tuner, hyperparameters(SPACE), epochs=9), folder / "journal.jsonl")
    base = ["model=mobile", "dataset.image_size=32"]
    trials, runner = Trials(search, tuner, SPACE, base, compose_trial, train, folder), InstantRunner(outcome)
    with initialize_config_dir(str(CONF), version_base=None):
        return trials, runner, trials.run(runner)  # type: ignore[arg-type]


def test_a_search_begins_no_trial_after_its_minutes_are_over(tmp_path: Path) -> None:
    def slowly(job: Job) -> Outcome:
        time.sleep(0.2)
        return COMPLETED

    trials, runner, ended = run(tmp_path, slowly, max_minutes=0.5 / 60, max_trials=50)
    assert ended == "tuner.max_minutes=0.00833333 over"
    assert 1 <= len(runner.begun) <= 4
    assert len(trials.search.results) == len(runner.begun)


def test_a_search_stops_at_the_third_failure_in_a_row_and_not_before(tmp_path: Path) -> None:
    outcomes = iter([FAILED, FAILED, COMPLETED, FAILED, FAILED, FAILED, COMPLETED])
    with pytest.raises(SweepError, match=r"3 trials in a row failed \(tuner.max_failures\); the last: the loss became"):
        run(tmp_path, lambda job: next(outcomes), max_trials=20)
    assert list(outcomes) == [COMPLETED]


@pytest.mark.parametrize("algorithm", ["random", "hyperband"])
def test_trials_that_failed_by_their_surroundings_are_tried_again_by_the_same_command(
    tmp_path: Path, algorithm: str
) -> None:
    full = Outcome("failed", reason="No space left on device; make room", transient=True)
    with pytest.raises(SweepError, match="No space left on device; make room; 3 failed by their surroundings"):
        run(tmp_path, lambda job: full, max_trials=4, name=algorithm)
    trials, runner, ended = run(tmp_path, lambda job: COMPLETED, max_trials=4, name=algorithm)
    assert [job.number for job in runner.begun] == [0, 1, 2, 3]
    assert [result.status for result in trials.search.results.values()] == ["completed"] * 4
    assert ended == "tuner.max_trials=4 reached"


def test_models_above_a_cap_are_counted_and_never_trained(tmp_path: Path) -> None:
    cap = {"max_flops": 5_000_000}
    trials, runner, ended = run(tmp_path, lambda job: COMPLETED, max_trials=4, **cap)
    assert ended == "tuner.max_trials=4 reached"
    assert [job.config.model.filters for job in runner.begun] == [[8]] * 4
    rejected = [result for result in trials.search.results.values() if result.status == "rejected"]
    assert rejected
    assert all(f"more than tuner.{next(iter(cap))}={next(iter(cap.values()))}" in result.reason for result in rejected)
    assert f"4 completed, {len(rejected)} rejected" in summary(trials.search)


def test_the_winner_is_a_file_of_the_report_and_an_experiment_where_it_is_given_a_name(
    tmp_path: Path, experiments_found: str, make_config: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    trials, _, ended = run(tmp_path, lambda job: COMPLETED, max_trials=1)
    trials.base = [*trials.base, "tracking=off", "dataset.cache=/nowhere"]
    config = replace(compose_config(schema=TuneConfig, name="tune"), space=SPACE)
    named = replace(config, tuner=replace(config.tuner, save_as="mine"))
    with initialize_config_dir(str(CONF), version_base=None):
        best = conclude(Session(config, trials, None, tmp_path, ended))[0]
        assert f"{tmp_path}/report/winner.yaml: as an experiment" in capsys.readouterr().out
        assert not session.EXPERIMENTS.exists()
        conclude(Session(named, trials, None, tmp_path, ended))
        assert "experiment=tuned_mine\n" in capsys.readouterr().out
        trials.base = [*trials.base, "dataset=combined", "~dataset.sources.faces"]
        conclude(Session(named, trials, None, tmp_path, ended))
        assert "(no experiment file: what it can hold would make another run" in capsys.readouterr().out
    (file,) = session.EXPERIMENTS.iterdir()
    assert "/nowhere" not in file.read_text()
    values = overrides(best.values, SPACE)
    expected = make_config("model=mobile", "dataset.image_size=32", *values, tiny=False)
    assert make_config("experiment=tuned_mine", experiments_found, tiny=False) == expected
    check_name(named)
    with pytest.raises(ConfigError, match="is there, and not of this search"):
        check_name(replace(named, trainer=replace(named.trainer, epochs=99)))


def test_a_resumed_search_counts_the_models_that_it_trained_and_no_rejected_one(tmp_path: Path) -> None:
    trials, _, _ = run(tmp_path, lambda job: COMPLETED, max_trials=4, max_parameters=20_000)
    assert len(trials.search.results) > 4
    _, runner, _ = run(tmp_path, lambda job: COMPLETED, max_trials=4, max_parameters=20_000)
    assert not runner.begun
    assert runner.progress.done == 4


def test_a_trial_whose_objective_is_undefined_has_failed(tmp_path: Path) -> None:
    scores = iter([math.nan, 0.5, math.inf, 0.25])

    def evaluated(job: Job) -> Outcome:
        return Outcome("finished", scores={"validation/precision": next(scores)})

    trials, _, ended = run(tmp_path, evaluated, max_trials=4, objective="validation/precision")
    results = list(trials.search.results.values())
    assert [result.status for result in results] == ["failed", "completed", "failed", "completed"]
    assert [result.score for result in results] == [None, 0.5, None, 0.25]
    assert results[0].reason == "validation/precision is nan: not defined for what this model predicts"
    assert ended == "tuner.max_trials=4 reached"


def test_a_search_whose_every_model_is_too_large_ends_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.search.trials.REJECTIONS_PER_TRIAL", 3)
    _, runner, ended = run(tmp_path, lambda job: COMPLETED, max_trials=1, max_parameters=10)
    assert not runner.begun
    assert ended == "4 models were rejected; look at tuner.max_parameters and tuner.max_flops"
