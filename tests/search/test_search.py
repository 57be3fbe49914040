"""The parts of a search that train nothing: space, oracle and journal, winner, importance, figures."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from src.config import ParameterConfig, TunerConfig
from src.errors import ConfigError
from src.search.oracle import Result, Search, Trial, create_oracle
from src.search.search_report import importances
from src.search.session import best_trial, write_experiment
from src.search.space import hyperparameters, overrides, probes

SPACE = {
    "optimizer": ParameterConfig(choice=["adam", "adamw"]),
    "optimizer.weight_decay": ParameterConfig(min=1e-5, max=1e-1, log=True, conditions={"optimizer": ["adamw"]}),
    "model.filters": ParameterConfig(choice=[[8], [8, 16]]),
    "model.convolutions": ParameterConfig(min=1, max=3, integer=True),
}
ALGORITHMS = ["random", "bayesian", "hyperband", "grid"]


def open_search(algorithm: str, journal: Path) -> Search:
    return Search(create_oracle(TunerConfig(algorithm), hyperparameters(SPACE), epochs=9), journal)  # type: ignore


def evaluated(trial: Trial) -> Result:
    """A score that follows from the values alone; every fifth trial fails."""
    if int(trial.id) % 5 == 4:
        return Result("failed", reason="the loss became nan")
    return Result("completed", random.Random(repr(sorted(trial.values.items()))).random())  # noqa: S311


def advance(search: Search, trials: int) -> list[Trial]:
    """Two trials at a time, the later one ending first, until `trials` have begun or the space is used up."""
    begun: list[Trial] = []
    while len(search.trials) < trials and not search.exhausted:
        while len(search.open) < 2 and (trial := search.next()):
            begun.append(trial)
        if search.open:
            search.end(search.open[-1], evaluated(search.open[-1]))
    return begun


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_search_cut_off_anywhere_goes_on_as_if_it_had_not_been(algorithm: str, tmp_path: Path) -> None:
    whole = open_search(algorithm, tmp_path / "whole.jsonl")
    advance(whole, 14)
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    for cut in (1, len(lines) // 2, len(lines) - 3):
        journal = tmp_path / f"cut{cut}.jsonl"
        journal.write_text("".join(lines[:cut]) + lines[cut][:7])
        search = open_search(algorithm, journal)
        assert "".join(lines[:cut]) == journal.read_text()
        assert list(search.trials) == list(whole.trials)[: len(search.trials)]
        search.end(search.open[-1], evaluated(search.open[-1]))
        rest = search.next()
        assert rest is None or rest.id not in list(search.trials)[:-1]
    again = open_search(algorithm, tmp_path / "whole.jsonl")
    assert (again.trials, again.results) == (whole.trials, whole.results)
    assert again.next() == whole.next()


def test_hyperband_lets_the_better_third_go_on_from_their_own_weights(tmp_path: Path) -> None:
    search = open_search("hyperband", tmp_path / "journal.jsonl")
    advance(search, 16)
    going_on = [trial for trial in search.trials.values() if trial.continues is not None]
    assert going_on
    for trial in going_on:
        before = search.trials[trial.continues or ""]
        assert trial.values == before.values
        assert search.results[before.id].status == "completed"  # though others of its round had failed
        assert trial.epochs == 3 * (before.epochs or 0)


def test_a_grid_has_every_combination_once(tmp_path: Path) -> None:
    space = {key: SPACE[key] for key in ("optimizer", "model.filters", "model.convolutions")}
    search = Search(create_oracle(TunerConfig("grid"), hyperparameters(space), 1), tmp_path / "journal.jsonl")
    while trial := search.next():
        search.end(trial, evaluated(trial))
    assert search.exhausted
    assert len({tuple(overrides(trial.values, space)) for trial in search.trials.values()}) == 2 * 2 * 3


def test_a_conditional_value_is_set_only_where_its_condition_holds() -> None:
    values = {
        "optimizer": "adamw",
        "optimizer.weight_decay": 0.01234567,
        "model.filters": "[8]",
        "model.convolutions": 2,
    }
    decay = "optimizer.weight_decay=0.01235"
    assert overrides(values, SPACE) == ["optimizer=adamw", decay, "model.filters=[8]", "model.convolutions=2"]
    assert decay not in overrides({**values, "optimizer": "adam"}, SPACE)
    assert ["optimizer=adamw", "optimizer.weight_decay=1e-05"] in probes(SPACE)


def test_a_condition_must_be_on_a_choice_that_stands_above() -> None:
    with pytest.raises(ConfigError, match=r"space.a.conditions.b: accepts a key with a choice that stands above a"):
        hyperparameters({"a": ParameterConfig(choice=[1], conditions={"b": [1]}), "b": ParameterConfig(choice=[1])})


def test_the_best_trial_is_written_as_an_experiment(
    tmp_path: Path, make_config: Callable, experiments_found: str
) -> None:
    search = open_search("random", tmp_path / "journal.jsonl")
    advance(search, 6)
    best = best_trial(search, "val_auc")
    worst = best_trial(search, "val_loss")
    assert best is not None
    assert worst is not None
    completed = [result.score for result in search.results.values() if result.status == "completed"]
    assert (best[1].score, worst[1].score) == (max(completed), min(completed))
    given = ["model=deep", "model.filters=[8,16]", "trainer.batch_size=4", "tracking=off", "dataset.cache=/nowhere"]
    file = write_experiment(given, "written_by_a_test", ["what it reached"])
    tree = yaml.safe_load(file.read_text())
    assert "tracking" not in tree
    assert file.read_text().startswith("# @package _global_\n# what it reached\n")
    assert "/nowhere" not in file.read_text()
    named = make_config("experiment=tuned_written_by_a_test", experiments_found, tiny=False)
    assert named == make_config(*given[:3], tiny=False)


def test_importance_finds_the_value_that_matters() -> None:
    generator = np.random.default_rng(0)
    values = pd.DataFrame({"rate": generator.random(40), "head": generator.choice(["a", "b"], 40)})
    shares = importances(values.assign(idle=None), pd.Series(values["rate"] + 0.05 * generator.random(40)))
    assert shares.index[0] == "rate"
    assert shares["rate"] > 0.9
    assert shares.sum() == pytest.approx(1)
    assert importances(values, pd.Series(np.ones(40))).empty
