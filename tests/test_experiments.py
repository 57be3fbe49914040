from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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
