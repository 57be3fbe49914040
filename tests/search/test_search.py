"""The parts of a search that train nothing: space, oracle and journal, winner, importance, figures."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import initialize_config_dir

from src.config import CONF, ParameterConfig, TuneConfig, TunerConfig
from src.search.oracle import Result, Search, Trial, create_oracle
from src.search.report import importances, report
from src.search.session import best_trial, experiment_text, repeats
from src.search.space import hyperparameters, overrides, probes
from src.search.tune import compose_trial
from tests.composing import compose_config

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


def grid(space: dict[str, ParameterConfig], folder: Path) -> list[list[str]]:
    """The overrides of each trial of a grid search through the whole space."""
    search = Search(create_oracle(TunerConfig("grid"), hyperparameters(space), 1), folder / "journal.jsonl")
    while trial := search.next():
        search.end(trial, evaluated(trial))
    assert search.exhausted
    return [overrides(trial.values, space) for trial in search.trials.values()]


def test_a_grid_has_every_combination_once(tmp_path: Path) -> None:
    tried = grid({key: SPACE[key] for key in ("optimizer", "model.filters", "model.convolutions")}, tmp_path)
    assert len(set(map(tuple, tried))) == len(tried) == 2 * 2 * 3


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


def test_a_stepped_range_is_tried_up_to_its_top_in_exact_decimals(tmp_path: Path) -> None:
    space = {"model.dropout": ParameterConfig(min=0.0, max=0.6, step=0.1)}
    assert grid(space, tmp_path) == [[f"model.dropout=0.{tenths}"] for tenths in range(7)]


def test_a_choice_of_integers_and_fractions_is_one_of_fractions() -> None:
    space = {
        "model.dropout": ParameterConfig(choice=[0, 0.2]),
        "model.residual": ParameterConfig(choice=[True, False], conditions={"model.dropout": [0.2]}),
    }
    dropout, residual = hyperparameters(space).space
    assert [type(value) for value in dropout.values] == [float, float]
    assert residual.conditions[0].values == [0.2]
    assert overrides({"model.dropout": 0.2, "model.residual": "true"}, space) == [
        "model.dropout=0.2",
        "model.residual=true",
    ]
    assert overrides({"model.dropout": 0.0, "model.residual": "true"}, space) == ["model.dropout=0.0"]
    assert ["model.dropout=0.2", "model.residual=true"] in probes(space)


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize(
    ("objective", "scores", "best"),
    [
        ("validation/precision", [math.nan, 0.5, 0.9, math.inf], 0.9),
        ("val_loss", [math.nan, 0.5, 0.9, math.inf], 0.5),
        ("validation/precision", [math.nan] * 3, None),
    ],
)
def test_a_score_that_is_not_finite_never_wins(
    objective: str, scores: list[float], best: float | None, tmp_path: Path
) -> None:
    search = open_search("random", tmp_path / "journal.jsonl")
    for score in scores:
        trial = search.next()
        assert trial is not None
        search.end(trial, Result("completed", score))
    config = replace(compose_config(f"tuner.objective={objective}", schema=TuneConfig, name="tune"), space=SPACE)
    assert (report(search, config, tmp_path, ended="the end") / "search.md").exists()
    winner = best_trial(search, objective)
    assert (winner and winner[1].score) == best


def test_the_best_trial_is_the_first_of_the_highest_or_lowest_score(tmp_path: Path) -> None:
    search = open_search("random", tmp_path / "journal.jsonl")
    advance(search, 6)
    found = [best_trial(search, objective) for objective in ("val_auc", "val_loss")]
    completed = [result.score for result in search.results.values() if result.status == "completed"]
    assert [best and best[1].score for best in found] == [max(completed), min(completed)]


@pytest.mark.parametrize(
    "given",
    [
        ["model=deep", "model=mobile"],  # of the base and of the space
        ["optimizer=adamw", "aug=light", "optimizer=sgd", "optimizer.momentum=0.5", "aug=none"],
        ["model=deep", "experiment=fer2013_baseline", "model=mobile", "dataset.limit=64"],
        ["experiment=faces_and_drawings", "dataset.sources.drawn.weight=0.25"],
        ["dataset=combined", "+dataset.sources.more={name: more, source: folder, path: 'a, b', weight: 0.5}"],
        ["dataset=combined", "dataset.sources.faces.weight=2", "dataset.sources={faces: {train_only: true}}"],
        ["dataset=photos", "dataset.path='1: 2'", "model.filters=[8,16]"],
    ],
)
def test_an_experiment_is_the_run_of_its_overrides(given: list[str]) -> None:
    text = experiment_text(given)
    with initialize_config_dir(str(CONF), version_base=None):
        assert repeats(text, given, compose_trial)
        assert not repeats(text, [*given, "seed=1"], compose_trial)


def test_an_experiment_does_not_claim_a_deletion() -> None:
    given = ["dataset=combined", "~dataset.sources.faces"]
    with initialize_config_dir(str(CONF), version_base=None):
        assert not repeats(experiment_text(given), given, compose_trial)


def test_importance_finds_the_value_that_matters() -> None:
    generator = np.random.default_rng(0)
    values = pd.DataFrame({"rate": generator.random(40), "head": generator.choice(["a", "b"], 40)})
    shares = importances(values.assign(idle=None), pd.Series(values["rate"] + 0.05 * generator.random(40)))
    assert shares.index[0] == "rate"
    assert shares["rate"] > 0.9
    assert shares.sum() == pytest.approx(1)
    assert importances(values, pd.Series(np.ones(40))).empty
