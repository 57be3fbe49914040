"""Packages import downwards only: the contracts are in pyproject.toml, the reasons in CONTRIBUTING.md."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from src.__main__ import COMMANDS
from src.config import PROJECT_ROOT

LINTER = Path(sys.executable).with_name("lint-imports")


@pytest.mark.parametrize("contract", ["layers", "circles"])
def test_imports_keep_the_contract(contract: str) -> None:
    command = [str(LINTER), "--no-cache", "--no-logo", "--contract", contract]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_contributing_tells_the_layers_in_the_order_of_the_contract() -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    layered = [re.findall(r"\w+", layer) for layer in layers]
    held = [names for names in layered if not {*COMMANDS, "__main__"} & set(names)]
    table = (PROJECT_ROOT / "CONTRIBUTING.md").read_text().partition("## Layers")[2].partition("\n## ")[0]
    told = [re.findall(r"`([a-z_]+)`", row.split("|")[1]) for row in table.splitlines() if row.startswith("| `")]
    assert told == held
