"""An installed package works from any folder, and brings all that it needs and no top-level `src`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from src.config import PROJECT_ROOT
from src.synthetic.faces import draw_face
from tests.composing import BRIEF_EVALUATION, TINY

pytestmark = pytest.mark.integration

BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "src", "conf", "experiments", "models", "hydra_plugins")
PLACES = {"src": "happy_sad", "conf": "happy_sad/conf", "experiments": "happy_sad/conf/experiment"}
PLACES |= {"models/happy_sad": "happy_sad/models/happy_sad", "hydra_plugins": "hydra_plugins"}

Command = Callable[..., subprocess.CompletedProcess[str]]


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools writes into the folder that it builds from."""
    copy, target = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in BUILT_FROM:
        source = PROJECT_ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(copy))
    return next(target.glob("happy_sad-*.whl"))


@pytest.fixture(scope="module")
def happy_sad(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Runs a command of the installed package in a given folder; it shares only its dependencies with this checkout."""
    site = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--target", str(site), str(wheel))

    def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "happy_sad", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a user of the installed package stands: a folder with a space and an umlaut in its name."""
    place = tmp_path / "Meine Übung"
    place.mkdir()
    return place


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_file_that_the_commands_need_is_in_the_wheel(wheel: Path) -> None:
    present = names(wheel)
    for folder, place in PLACES.items():
        files = [path for path in (PROJECT_ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]
        if folder == "experiments":  # the programs beside them belong to a checkout
            files = list((PROJECT_ROOT / folder).glob("*.yaml"))
        wanted = {f"{place}/{path.relative_to(PROJECT_ROOT / folder).as_posix()}" for path in files}
        assert wanted
        assert wanted <= present, (
            f"not in the wheel: {sorted(wanted - present)}; see [tool.setuptools] in pyproject.toml"
        )
    assert any(name.endswith("licenses/LICENSE") for name in present)


def test_no_top_level_package_but_our_own_is_installed(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"happy_sad", "hydra_plugins"}


def test_the_installed_package_predicts_with_the_shipped_model(happy_sad: Command, folder: Path) -> None:
    Image.fromarray(draw_face(7, 10)[0]).save(folder / "face.png")
    done = happy_sad(folder, "predict", "face.png")
    assert done.returncode == 0, done.stderr
    said, evidence = done.stdout.rstrip(")\n").split("  (")
    answer, *numbers, file = said.split()
    assert answer in ("happy", "sad", "unsure")
    assert file == "face.png"
    assert evidence in ("1 face", "whole image, no face found")
    assert numbers[0] == "p_happy"
    assert 0 <= float(numbers[1].lstrip("<>")) <= 1


def test_the_installed_package_composes_its_own_configs_and_names_its_own_commands(
    happy_sad: Command, folder: Path
) -> None:
    done = happy_sad(folder, "train", "--help")
    assert done.returncode == 0, done.stderr
    assert "model: baseline, convnext_tiny, deep," in done.stdout
    assert "happy-sad train model=deep aug=strong" in done.stdout
    assert "python -m" not in done.stdout
    (folder / "face.png").touch()
    done = happy_sad(folder, "predict", "face.png", "--model", ".")
    assert "happy-sad export makes one" in done.stderr
    done = happy_sad(folder, "train", "experiment=photos_baseline", "dataset.path=PHOTOS", "print_config=true")
    assert done.returncode == 0, done.stderr
    assert "path: PHOTOS" in done.stdout


def test_the_installed_package_trains_evaluates_and_compares_where_it_is_called(
    happy_sad: Command, folder: Path
) -> None:
    done = happy_sad(folder, "train", "-m", "seed=1,2", *TINY)
    assert done.returncode == 0, done.stderr
    assert "[2/2]" in done.stdout
    assert (folder / "mlruns" / "mlflow.db").is_file()
    done = happy_sad(folder, "evaluate", "run=latest", *BRIEF_EVALUATION)
    assert done.returncode == 0, done.stderr
    done = happy_sad(folder, "compare")
    assert done.returncode == 0, done.stderr
    assert (folder / "outputs" / "compare" / "comparison.html").is_file()
    done = happy_sad(folder, "train", "tracking=off", "output=mine", *TINY)
    assert done.returncode == 0, done.stderr
    assert (folder / "mine" / "model.keras").is_file()
