from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from experiments.unseen_collectors import run as unseen_collectors
from src.config import PROJECT_ROOT, Config

EXPERIMENTS = sorted((PROJECT_ROOT / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_recorded_experiment_composes_and_says_what_it_asks(
    path: Path, make_config: Callable[..., Config]
) -> None:
    make_config(f"experiment={path.stem}", tiny=False)
    header = path.read_text().split("defaults:")[0]
    assert f"experiment={path.stem}" in header
    assert "?" in header


@pytest.fixture
def fold(tmp_path: Path) -> Namespace:
    """Arguments of an experiment of which the first fold is there."""
    for label in ("happy", "sad"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "photos" / label / f"c{number % 3:02}_{number}.jpg").touch()
    made = Namespace(photos=tmp_path / "photos", work=tmp_path / "work", faces=tmp_path / "bundle")
    made.scenes, made.pattern, made.only, made.folds, made.overrides = "scenes", r"c\d\d", "", 2, ["trainer.epochs=1"]
    (made.work / "fold0").mkdir(parents=True)
    pd.DataFrame({"fold": [0]}).to_parquet(made.work / "fold0" / "evidence.parquet")
    (made.work / "fold0.json").write_text(json.dumps(unseen_collectors.settings_of_fold(made, 0)))
    return made


def test_a_fold_that_is_there_is_used_again(fold: Namespace) -> None:
    assert unseen_collectors.answers_of_fold(fold, 0)["fold"].tolist() == [0]


@pytest.mark.parametrize(
    ("setting", "made"),
    [
        ("--scenes other", "scenes=scenes"),
        ("--faces other", "faces="),
        ("--only c0[01]", "only="),
        ("--folds 3", "folds=2"),
        ("trainer.epochs=2", "overrides=trainer.epochs=1"),
    ],
)
def test_a_fold_made_with_other_settings_is_rejected_in_one_line(
    fold: Namespace, monkeypatch: pytest.MonkeyPatch, setting: str, made: str
) -> None:
    overrides, options = ("", setting) if setting.startswith("--") else (setting, "")
    same = f"{overrides or 'trainer.epochs=1'} --work {fold.work} --faces {fold.faces} --folds 2 --scenes scenes"
    monkeypatch.setattr(sys, "argv", ["run", str(fold.photos), *same.split(), *options.split()])
    with pytest.raises(SystemExit, match=f"fold0: was made with {made}.*--work") as stop:
        unseen_collectors.main()
    assert "\n" not in str(stop.value)


def test_a_fold_of_other_photos_or_unknown_settings_is_rejected(fold: Namespace) -> None:
    (fold.photos / "sad" / "c01_new.jpg").touch()
    with pytest.raises(SystemExit, match="was made with photos="):
        unseen_collectors.answers_of_fold(fold, 0)
    (fold.work / "fold0.json").unlink()
    with pytest.raises(SystemExit, match="was made with settings that are not known"):
        unseen_collectors.answers_of_fold(fold, 0)
