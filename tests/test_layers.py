"""Packages import downwards only, as the contracts in pyproject.toml say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from src.config import PROJECT_ROOT

LINTER = Path(sys.executable).with_name("lint-imports")


@pytest.mark.parametrize("contract", ["layers", "circles"])
def test_imports_keep_the_contract(contract: str) -> None:
    command = [str(LINTER), "--no-cache", "--no-logo", "--contract", contract]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
