"""Composition by Hydra: to plain values, or to one line that explains why not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from ..config import CONF, ConfigType, dotted_keys, meant_keys, suggest, to_config, unknown_key
from ..config.base import reject_password
from ..errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Hydra and OmegaConf also let these through for values that they do not expect.
COMPOSITION_ERRORS = (
    HydraException,
    OmegaConfBaseException,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
OPTIONS = (
    *("help", "hydra-help", "version", "cfg", "resolve", "package", "run", "multirun", "shell-completion", "info"),
    *("h", "c", "p", "r", "m", "sc", "cp", "cn", "cd", "i"),
    *("config-path", "config-name", "config-dir", "experimental-rerun"),
)


def as_overrides(arguments: Sequence[str], schema: type) -> list[str]:
    """Arguments in Hydra's grammar: where the value of `key=value` breaks it (`path=/my (photos)`), it is quoted, and
    `-m` comes first, wherever it was.

    Raises ConfigError for an option that Hydra does not have, and for a password.
    """
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        key, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and key not in OPTIONS:
            value = value if equals or re.match(r"-|.*=", following) else following
            full = next(iter(meant_keys(key.replace("-", "_"), dotted_keys(schema))), key)
            raise ConfigError(
                f"{argument}: no such option{suggest(key, OPTIONS)}; a value is set by {full}={value or 'VALUE'}"
            )
        # Here already: Hydra writes down and repeats what it is given.
        reject_password("an argument" if "://" in key else key, argument)
    arguments = sorted(arguments, key=lambda argument: argument not in ("-m", "--multirun"))
    # Commands that runs have recorded say `+experiment=NAME`.
    return [_as_override(re.sub(r"^\+(?=experiment=)", "", argument)) for argument in arguments]


def _as_override(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals or argument.startswith("-") or _parses(argument):
        return argument
    text = quoted(key, value)
    return text if _parses(text) else argument


def quoted(key: str, value: str) -> str:
    """`key=value` with the value as text, whatever it holds."""
    escaped = re.sub(r'(\\*)("|$)', lambda match: match[1] * 2 + ('\\"' if match[2] else ""), value)
    return f'{key}="{escaped}"'


def _parses(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def explain_composition(error: Exception, overrides: Sequence[str], schema: type) -> str:
    """One line for what Hydra or OmegaConf found wrong: the key, what it got and what it accepts."""
    text = " ".join(str(error).split())
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        accepted = ", ".join(error.options) or "nothing yet: the group is empty"
        return f"{group}={option}: accepts {accepted}{suggest(option, error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not understood; write key=value, in quotes where the value holds spaces: 'key=a b'"
    if several := re.search(r"Ambiguous value for argument '(.*?)'|Sweep parameters '(.*?)' requires", text):
        override = several[1] or several[2]
        key, _, value = override.partition("=")
        if re.fullmatch(r"-?\d+,\d+", value):
            value = value.replace(",", ".")
            return f"{override}: several values make a sweep; add -m, or with a decimal point: {key}={value}"
        if _options(key):
            return f"{override}: several options make a sweep: add -m"
        return f"{override}: several values make a sweep; add -m, or as one text: {shlex.quote(quoted(key, value))}"
    if absent := re.search(r"Could not override '(\w+)'. No match in the defaults list", text):
        return f"{absent[1]}: no such group in this command; --help lists what it has"
    if text.startswith("Config group override must be a string"):
        return _explain_groups(overrides) or text
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        parent: Any = cause.parent_node
        known = [str(key) for key in (parent or {}) if key != "hydra"]
        return unknown_key(cause.full_key, known, dotted_keys(schema))
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return f"{shlex.join(overrides)}: cannot be composed: {text}"
    return " ".join(str(cause or error).split())


def _explain_groups(overrides: Sequence[str]) -> str:
    """One line for the override of a group that names no option of it; empty where there is none."""
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        group = key.partition("@")[0]
        if not group:
            return f"{override}: not understood; write key=value"
        options = _options(group)
        if options and value not in options:
            return f"{override}: accepts {', '.join(options)}"
    return ""


def compose_checked(overrides: Sequence[str], schema: type[ConfigType], config_name: str = "config") -> ConfigType:
    """The config that a command line of `overrides` makes, inside Hydra's initialization. Raises ConfigError."""
    try:
        tree = compose(config_name, list(overrides))
    except COMPOSITION_ERRORS as error:
        raise ConfigError(explain_composition(error, overrides, schema)) from error
    return to_config(plain_tree(tree), schema)


def group_options(config_name: str) -> str:
    """The groups in the defaults list of `conf/<config_name>.yaml` with their options, a line for each."""
    lines = []
    for entry in OmegaConf.load(CONF / f"{config_name}.yaml").defaults:
        group = "" if isinstance(entry, str) else str(next(iter(entry)))
        if group and not group.startswith("override "):
            lines.append(f"{group}: {', '.join(_options(group.partition('@')[0]))}")
    return "\n".join(lines)


def architectures_of_options() -> set[str]:
    """The architectures that the options of `model` name: those that are known to exist without importing Keras."""
    options = (OmegaConf.load(file) for file in (CONF / "model").glob("*.yaml"))
    return {str(OmegaConf.select(option, "architecture", default="cnn")) for option in options}


def _options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def plain_tree(tree: DictConfig) -> dict[str, Any]:
    """A composed tree with its interpolations resolved. Raises ConfigError for one that cannot be."""
    try:
        plain = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    if not isinstance(plain, dict):
        raise ConfigError("the config is not a mapping")
    return {str(key): value for key, value in plain.items()}
