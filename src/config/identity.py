"""Identity of a run: its flat parameters, the digest of what decides its result, its name and its command."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .base import ENVIRONMENT, EVALUATION, LAUNCH, SESSION, as_text, role_of
from .checking import plain
from .paths import shell_command
from .run import Config

_UNNAMED = ("dataset.path", "dataset.manifest.root", "experiment")
"""Of a run's name: where images lie, and what its own values say."""


def command_line(command: str, overrides: Iterable[str]) -> str:
    """Return the command line of `train`, `tune` and so on, as it is typed in a checkout or once installed."""
    return f"{shell_command(command)} {shlex.join(overrides)}".rstrip()


@dataclass(frozen=True)
class Request:
    """A call of a command: the name of its run, the command line that repeats it, and the overrides behind both."""

    name: str
    command: str
    overrides: tuple[str, ...] = ()

    @classmethod
    def of(cls, command: str, config: object, overrides: Iterable[str] = ()) -> Request:
        """Return the request of `overrides` to `command`, made once the config that they compose is checked."""
        given = tuple(overrides)
        name = run_name(config, given) if isinstance(config, Config) else command
        return cls(name, command_line(command, given), given)


def flat_params(config: Config) -> dict[str, str]:
    """The resolved config as dotted keys and text, lists as JSON: `model.filters` is `[16, 32, 16]`.

    Sections about the call, such as `tracking`, are left out.
    """
    return {key: value for key, value in _flatten(plain(config), "") if role_of(key, Config) not in (SESSION, LAUNCH)}


def config_digest(config: Config) -> str:
    """32 hexadecimal digits that are equal for runs whose result must be the same."""
    params = {key: value for key, value in flat_params(config).items() if role_of(key, Config) != ENVIRONMENT}
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:32]


def run_name(config: Config, overrides: Sequence[str] = ()) -> str:
    """A name that begins with what `overrides` change, in their order, and goes on with model, augmentation, optimizer,
    data set and seed where they do not: `deep-learning_rate=3e-4-none-adam-synthetic-s0`.
    """
    if config.name:
        return config.name
    parts = {group: getattr(config, group).name for group in ("model", "aug", "optimizer", "dataset", "trainer")}
    parts |= {"seed": f"s{config.seed}"}
    if parts["trainer"] == "default":
        del parts["trainer"]
    changed = {}
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key in parts or (key not in _UNNAMED and _is_named(key)):
            changed[key] = parts.get(key, f"{key.rpartition('.')[2]}={value}")  # of a key given twice the last counts
    return "-".join((changed | {key: value for key, value in parts.items() if key not in changed}).values())


def _is_named(key: str) -> bool:
    return role_of(key, Config) not in (EVALUATION, ENVIRONMENT, SESSION, LAUNCH) and not key.startswith("hydra")


def _flatten(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", as_text(value)
