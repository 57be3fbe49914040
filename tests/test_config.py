from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
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
from src.config.identity import run_name
from src.config.run import Objective
from src.errors import ConfigError
from src.metrics.scores import SCORES
from tests.composing import compose_config


def test_a_checked_config_survives_the_way_through_plain_values(make_config: Callable[..., Config]) -> None:
    config = make_config("model=deep", "aug=strong", "optimizer=sgd")
    assert to_config(plain(config), Config) == config


@pytest.mark.parametrize("group", ["model", "optimizer", "aug", "trainer", "evaluation"])
def test_a_group_s_default_option_and_its_dataclass_say_the_same(group: str) -> None:
    option = getattr(compose_config(), group)
    factories = {each.name: each.default_factory for each in fields(option) if each.default_factory is not MISSING}
    values = {each.name: each.default for each in fields(option) if each.default is not MISSING}
    values |= {name: factory() for name, factory in factories.items()}
    assert values
    assert {name: getattr(option, name) for name in values} == values


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


@pytest.mark.parametrize(("group", "names"), OPTIONS)
def test_every_option_of_every_group_composes_and_has_the_right_types(group: str, names: str) -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        for option in names.split(", "):
            searched = option != "overfit"  # which validates no trial
            schema, file = (TuneConfig, "tune") if searched else (Config, "config")
            config = compose_checked([f"{group}={option}"], schema, file)
            if group not in ("space", "experiment"):
                assert getattr(config, group).name == option


def test_a_winner_is_saved_under_a_part_of_a_files_name() -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        with pytest.raises(ConfigError, match=r"save_as=a/b: is a part of a file's name"):
            compose_checked(["tuner.save_as=a/b"], TuneConfig, "tune")
        assert compose_checked(["tuner.save_as=v1.2-b"], TuneConfig, "tune").tuner.save_as == "v1.2-b"


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
