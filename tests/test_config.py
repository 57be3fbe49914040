from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hydra import initialize_config_dir

from src.cli.composition import compose_checked, group_options
from src.config import (
    CONF,
    AuditConfig,
    CompareConfig,
    Config,
    EvaluateConfig,
    ExportConfig,
    PrepareConfig,
    RegisterConfig,
    TuneConfig,
    plain,
    to_config,
    with_absolute_paths,
)
from src.config.earlier_names import present_params, present_tree
from src.config.identity import config_digest, deciding_params, flat_params, run_name
from src.config.launching import Objective
from src.config.roles import added_defaults
from src.errors import ConfigError
from src.metrics.scores import SCORES
from tests.composing import compose_config


def with_value(config: Config, key: str, value: object) -> dict:
    tree = plain(config)
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        node = node[parent]
    node[last] = value
    return tree


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("optimizer.learning_rate", "abc", "optimizer.learning_rate=abc: accepts a number, above 0 and at most 10"),
        ("dataset.image_size", 0, "dataset.image_size=0: accepts an integer, at least 8 and at most 1024"),
        ("seed", 1.5, "seed=1.5: accepts an integer, at least 0 and below 4294967296"),
        ("trainer.overfit", "perhaps", "trainer.overfit=perhaps: accepts true or false"),
        ("model.filters", [16, 0], "model.filters.1=0: accepts an integer, at least 1"),
        ("model.filters", [], "model.filters=[]: accepts a list of 1 to 8 items; each an integer, at least 1"),
        ("optimizer.clip_norm", 0, "optimizer.clip_norm=0: accepts a number, above 0 or null"),
        (
            "model.convolution",
            "seperable",
            "model.convolution=seperable: accepts standard, separable; did you mean separable?",
        ),
        ("optimizer.lerning_rate", 1, "optimizer.lerning_rate: no such key; did you mean optimizer.learning_rate"),
        ("optimizer.learning_rate", float("nan"), "optimizer.learning_rate=nan: accepts a number"),
    ],
)
def test_a_wrong_value_is_one_line_that_says_what_is_accepted(
    make_config: Callable[..., Config], key: str, value: object, line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        to_config(with_value(make_config(), key, value), Config)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_values_that_exclude_each_other_are_refused(make_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"^model: residual=true needs padding=same"):
        make_config("model=residual", "model.padding=valid")
    with pytest.raises(ConfigError, match=r"^optimizer: schedule=plateau has no warm-up"):
        make_config("optimizer.schedule=plateau", "optimizer.warmup_epochs=1")


def test_values_that_would_be_ignored_or_do_harm_are_refused(make_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"path=PHOTOS is not read by synthetic faces; did you mean dataset=photos\?"):
        make_config("dataset.path=PHOTOS")
    with pytest.raises(ConfigError, match="output= is empty"):
        make_config("output=''")


def test_a_checked_config_survives_the_way_through_plain_values(make_config: Callable[..., Config]) -> None:
    config = make_config("model=deep", "aug=strong", "optimizer=sgd")
    assert to_config(plain(config), Config) == config


def test_what_was_added_later_is_part_of_a_run_only_where_it_is_used(make_config: Callable[..., Config]) -> None:
    config = make_config("dataset=combined", "dataset.sources.photos.path=PHOTOS")
    added = set(added_defaults(Config))
    assert {"model.weights", "trainer.ema", "dataset.votes.path"} <= added
    assert not {key.replace(".sources.photos", "") for key in deciding_params(config)} & added
    assert added <= set(flat_params(config))
    averaged = replace(config, trainer=replace(config.trainer, ema=0.9))
    assert deciding_params(averaged).items() - deciding_params(config).items() == {("trainer.ema", "0.9")}
    assert config_digest(averaged) != config_digest(config)
    earlier = present_params({"trainer.name": "default"})
    assert (earlier["trainer.ema"], earlier["trainer.teachers"]) == ("0.0", "[]")
    assert "model.weights" not in earlier


def test_earlier_names_are_known_in_sources_too() -> None:
    earlier = {"dataset": {"sources": {"faces": {"drawn": {"count": 5}, "source": "drawn"}}, "drawn": {"seed": 1}}}
    present = {"sources": {"faces": {"synthetic": {"count": 5}, "source": "synthetic"}}, "synthetic": {"seed": 1}}
    assert present_tree(earlier)["dataset"] == present


def test_a_recorded_fold_that_its_split_ignored_is_still_read(make_config: Callable[..., Config]) -> None:
    config = make_config("dataset.split.method=kfold", "dataset.split.fold=1")
    assert to_config(present_tree(plain(config)), Config) == config
    recorded = plain(config)
    recorded["dataset"]["split"]["method"] = "stratified"
    with pytest.raises(ConfigError, match="has no folds"):
        to_config(recorded, Config)
    split = to_config(present_tree(recorded), Config).dataset.split
    assert (split.method, split.fold) == ("stratified", 0)


COMMANDS = {
    "config": Config,
    "tune": TuneConfig,
    "compare": CompareConfig,
    "evaluate": EvaluateConfig,
    "export": ExportConfig,
    "prepare": PrepareConfig,
    "audit": AuditConfig,
    "register": RegisterConfig,
}
OPTIONS = [line.split(": ") for line in group_options("tune").splitlines()]


@pytest.mark.parametrize("override", [f"{group}={option}" for group, names in OPTIONS for option in names.split(", ")])
def test_every_option_of_every_group_composes_and_has_the_right_types(override: str) -> None:
    searched = override != "trainer=overfit"  # which validates no trial
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose_checked([override], *((TuneConfig, "tune") if searched else (Config, "config")))
    group, _, option = override.partition("=")
    if group not in ("space", "experiment"):
        assert getattr(config, group).name == option


def test_a_winner_is_saved_under_a_part_of_a_files_name() -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        with pytest.raises(ConfigError, match=r"save_as=a/b: is a part of a file's name"):
            compose_checked(["tuner.save_as=a/b"], TuneConfig, "tune")
        assert compose_checked(["tuner.save_as=v1.2-b"], TuneConfig, "tune").tuner.save_as == "v1.2-b"


def test_every_model_composes_with_every_trainer() -> None:
    options = {group: names.split(", ") for group, names in OPTIONS}
    with initialize_config_dir(str(CONF), version_base=None):
        for model, trainer in itertools.product(options["model"], options["trainer"]):
            config = compose_checked([f"model={model}", f"trainer={trainer}"], Config)
            assert (config.model.name, config.trainer.name) == (model, trainer)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "baseline-none-adam-synthetic-s0"),
        (["seed=3", "model=deep"], "s3-deep-none-adam-synthetic"),
        (["optimizer.learning_rate=3e-4", "aug=light", "optimizer.learning_rate=1e-4"], None),
        (["dataset=photos", "dataset.path=/my/photos", "trainer=debug"], "photos-debug-baseline-none-adam-s0"),
        (["dataset=manifest", "dataset.path=a.csv", "dataset.manifest.root=/my/b"], "manifest-baseline-none-adam-s0"),
    ],
)
def test_the_name_of_a_run_begins_with_what_differs(overrides: list[str], name: str | None) -> None:
    expected = name or "learning_rate=1e-4-light-baseline-adam-synthetic-s0"
    assert run_name(compose_config(*overrides), overrides) == expected


def test_mlflows_variables_say_where_runs_go_unless_the_config_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "faces")
    monkeypatch.setenv("MLFLOW_RUN_ID", "1234")
    tracking = compose_config().tracking
    assert (tracking.uri, tracking.experiment) == ("http://tracking:5000", "faces")
    assert compose_config("tracking=local").tracking.uri is None
    assert compose_config("tracking=server").tracking.uri == "http://tracking:5000"
    assert compose_config("tracking.experiment=mine").tracking.experiment == "mine"
    assert compose_config(schema=EvaluateConfig, name="evaluate").run == "1234"


def test_recorded_paths_are_absolute_and_columns_stay_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recorded = with_absolute_paths(plain(compose_config("dataset=photos", "dataset.path=my photos", "output='~/out'")))
    assert recorded["dataset"]["path"] == str(tmp_path / "my photos")
    assert recorded["dataset"]["cache"] == str(tmp_path / ".cache" / "prepared")
    assert recorded["dataset"]["manifest"]["path"] == "path"
    assert recorded["output"] == str(Path.home() / "out")


def test_no_folder_of_options_is_missed() -> None:
    known = {group for group, _ in OPTIONS}
    assert {folder.name for folder in CONF.iterdir() if folder.is_dir()} == known | {"hydra"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_config_of_the_right_types(command: str) -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        compose_checked([], COMMANDS[command], command)


def test_every_score_of_validation_can_be_the_objective() -> None:
    known = {each.removeprefix("validation/") for each in get_args(Objective) if each.startswith("validation/")}
    assert known == set(SCORES)


@pytest.mark.parametrize("objective", ["test/accuracy", "accuracy", "validation/rocauc"])
def test_a_sweeper_optimizes_scores_of_validation_only(objective: str) -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        assert compose_checked(["objective=validation/mcc"], Config).objective == "validation/mcc"
        with pytest.raises(ConfigError, match="accepts validation/accuracy"):
            compose_checked([f"objective={objective}"], Config)
