"""Where the project is, and paths that count from there."""

from __future__ import annotations

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def project_path(path: str) -> Path:
    """`path` with `~` expanded; a relative one counts from the project's root, whatever the working directory."""
    return PROJECT_ROOT / Path(path).expanduser()
