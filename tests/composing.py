"""Configs as the command line composes them."""

from __future__ import annotations

from hydra import initialize_config_dir

from src.cli.composition import compose_checked
from src.config import CONF, Config, ConfigType


def compose_config(
    *overrides: str,
    schema: type[ConfigType] = Config,
    name: str = "config",  # type: ignore[assignment]
) -> ConfigType:
    """The checked config of a command, whose config file is `name`. Raises ConfigError."""
    with initialize_config_dir(str(CONF), version_base=None):
        return compose_checked(list(overrides), schema, name)
