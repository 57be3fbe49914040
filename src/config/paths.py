"""Places of the project, and paths that a user gives."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError

PACKAGE = Path(__file__).resolve().parents[1]
IN_CHECKOUT = (PACKAGE.parent / "pyproject.toml").is_file() and PACKAGE.name == "src"

PACKAGE_NAME = __package__.partition(".")[0]
"""`src` in a checkout, `happy_sad` where it is installed."""

PROJECT_ROOT = PACKAGE.parent if IN_CHECKOUT else Path.cwd()
"""Where runs, outputs and caches go: the checkout, or the working directory of an installed package."""

CONF = PACKAGE.parent / "conf" if IN_CHECKOUT else PACKAGE / "conf"
"""Hydra's config groups; `conf/experiment` is the folder `experiments` of a checkout."""

SHIPPED_MODEL = (PACKAGE.parent if IN_CHECKOUT else PACKAGE) / "models" / "happy_sad"
"""The bundle that comes with the code."""


PATHS = ("path", "cache", "downloads", "checkpoint", "output")
"""Keys of a config that hold paths; those below `manifest` are names of columns."""


def shell_command(command: str) -> str:
    """Return a command as it is typed: `python -m src.train` in a checkout, `happy-sad train` once installed."""
    return f"python -m src.{command}" if IN_CHECKOUT else f"happy-sad {command}"


def project_path(path: str) -> Path:
    """`path` made absolute, with `~` expanded: a relative one counts from where the user stands."""
    return Path(os.path.abspath(Path(os.path.expanduser(path))))


def output_folder(path: str, key: str = "output") -> Path:
    """The folder that `key` names, made and writable. Raises ConfigError, which is to be before any work."""
    folder = project_path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError(f"{key}={path}: nothing can be written there: {error.strerror} ({folder})") from None
    return folder


def with_absolute_paths(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A config as nested dictionaries, with its paths absolute: what is recorded means the same from any folder."""
    absolute: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and key != "manifest":
            absolute[key] = with_absolute_paths(value)
        elif key in PATHS and isinstance(value, str):
            absolute[key] = str(project_path(value))
        elif key == "weights" and isinstance(value, str) and Path(os.path.expanduser(value)).exists():
            absolute[key] = str(project_path(value))  # else the name of a recorded model
        else:
            absolute[key] = value
    return absolute
