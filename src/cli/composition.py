"""What Hydra composes, as plain values, and what it could not compose, as one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from ..config import suggest, unknown_key
from ..errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def explain_composition(error: Exception) -> str:
    """One line for what Hydra or OmegaConf found wrong: the key, what it got and what it accepts."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        accepted = ", ".join(error.options) or "nothing yet: the group is empty"
        return f"{group}={option}: accepts {accepted}{suggest(option, error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not understood; write key=value"
    if str(error).startswith("Could not override 'experiment'"):
        return "experiment: write +experiment=NAME"
    if str(error).startswith("Ambiguous value for argument"):
        return f"{str(error).split(chr(39))[1]}: several values make a sweep; add -m"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        parent: Any = cause.parent_node
        return unknown_key(cause.full_key, [str(key) for key in (parent or {}) if key != "hydra"])
    return " ".join(str(cause or error).split())


def plain_tree(tree: DictConfig) -> dict[str, Any]:
    """A composed tree with its interpolations resolved. Raises ConfigError for one that cannot be."""
    try:
        plain = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    if not isinstance(plain, dict):
        raise ConfigError("the config is not a mapping")
    return {str(key): value for key, value in plain.items()}
