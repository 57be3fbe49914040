"""Where the project is, and paths that count from there."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
IN_CHECKOUT = (PACKAGE.parent / "pyproject.toml").is_file() and PACKAGE.name == "src"

PROJECT_ROOT = PACKAGE.parent if IN_CHECKOUT else Path.cwd()
"""Where runs, outputs and caches go: the checkout, or the working directory of an installed package."""

CONF = PACKAGE.parent / "conf" if IN_CHECKOUT else PACKAGE / "conf"
"""Hydra's config groups; `conf/experiment` is the folder `experiments` of a checkout."""

SHIPPED_MODEL = (PACKAGE.parent if IN_CHECKOUT else PACKAGE) / "models" / "happy_sad"
"""The bundle that comes with the code."""


def project_path(path: str) -> Path:
    """`path` with `~` expanded; a relative one counts from the project's root, whatever the working directory."""
    return PROJECT_ROOT / Path(path).expanduser()
