"""What made a run: the exact command, the code's state, the versions and the machine."""

from __future__ import annotations

import platform
import shlex
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..config import PROJECT_ROOT, typed


def command_line(command: str, overrides: Sequence[str]) -> str:
    """The command line of `train`, `tune` and so on, as it is typed in a checkout or where the package is installed."""
    return f"{typed(command)} {shlex.join(overrides)}".rstrip()


def provenance_tags(command: str, backend: str, device: str, precision: str) -> dict[str, str]:
    """Tags of a run: command, git commit and whether the tree was dirty, backend, device, versions."""
    commit = _git("rev-parse", "HEAD")
    git = {"git.commit": commit, "git.dirty": str(bool(_git("status", "--porcelain"))).lower()} if commit else {}
    packages = {f"version.{name}": _version(name) for name in ("keras", backend)}
    return {
        "command": command,
        "directory": str(Path.cwd()),  # from which relative paths of the command and the parameters count
        "backend": backend,
        "device": device,
        "precision": precision,
        "version.python": platform.python_version(),
        **packages,
        **git,
    }


def uncommitted_changes() -> str:
    """The working tree's difference to the last commit, as a patch; empty where there is none or no git."""
    return _git("diff", "HEAD")


def _git(*arguments: str) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - the user's own git
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.rstrip("\n") if arguments[0] == "diff" else answer.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
