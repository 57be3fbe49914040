"""From a command line to a checked config and a function call; what the user can mend is one line, not a traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from ..config import CONF, ConfigType, suggest, to_config, unknown_key
from ..errors import ConfigError, UserError
from ..terminal import printable

if TYPE_CHECKING:
    from omegaconf import DictConfig


INTERRUPTED = 130


def hydra_command(
    task: Callable[[ConfigType, list[str]], Any], *, schema: type[ConfigType], config_name: str = "config"
) -> Callable[[], None]:
    """Make a console entry point of `task(config, overrides)`.

    Hydra composes `conf/<config_name>.yaml` with the command line; the result is checked against `schema`. A UserError
    ends the process with its own exit code and one line on stderr (2 for a mistake in the config, 1 otherwise),
    Ctrl-C with 130; any other exception is a defect and keeps its traceback.
    """

    def run(tree: DictConfig) -> None:
        config = to_config(plain_tree(tree), schema)
        if getattr(config, "print_config", False):
            print(OmegaConf.to_yaml(tree, resolve=True), end="")
            return
        task(config, list(HydraConfig.get().overrides.task))

    def job(tree: DictConfig) -> None:
        try:
            run(tree)
        except UserError as error:
            if HydraConfig.get().mode is RunMode.MULTIRUN and not isinstance(error, ConfigError):
                print(f"error: {printable(str(error))}", file=sys.stderr)
                raise
            # Hydra would print a notice of its own before the error reaches `entry`.
            _stop(str(error), error.exit_code)

    def entry() -> None:
        # Hydra's own error report prints and exits by itself; in this mode it lets the exception through to us.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        # A scheduler's SIGTERM ends a run as Ctrl-C does: recorded as killed.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        main = hydra.main(config_path=str(CONF), config_name=config_name, version_base=None)(job)
        _end_in_one_line(main)

    return entry


def _end_in_one_line(main: Callable[[], object]) -> None:
    """Run `main`; what is no defect of ours ends the process with its exit code and without a traceback."""
    try:
        main()
    except UserError as error:
        _stop(str(error), error.exit_code)
    except (HydraException, OmegaConfBaseException) as error:
        _stop(explain_composition(error), ConfigError.exit_code)
    except KeyboardInterrupt:
        _stop("interrupted", INTERRUPTED)
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


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


def _stop(message: str, exit_code: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(exit_code)
