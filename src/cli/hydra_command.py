"""From a command line to a checked config and a function call; a user-fixable error is one line, not a traceback."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..config import CONF, PACKAGE_NAME, ConfigType, shell_command, to_config
from ..config.identity import Request
from ..errors import ConfigError, UserError
from ..system import INTERRUPTED, TERMINATED, stop
from .composition import COMPOSITION_ERRORS, as_overrides, explain_composition, group_options, plain_tree

if TYPE_CHECKING:
    from omegaconf import DictConfig


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does: recorded as killed."""


def named(name: str) -> Callable[..., Any]:
    """Return the function that `module:function` names, importing the module; `.module` is one of this package's."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module, PACKAGE_NAME), function)
    return found


class HydraCommand(Generic[ConfigType]):
    """`function(config, request)` as Hydra calls it: with each composed tree, in whichever process.

    Function and objective are names, imported once their config is right, so that a mistake is reported at once.
    `objective(config, result)` is what an optimizing sweeper gets of a job. A launcher enters into `closing` what is
    to end with the command.
    """

    def __init__(
        self, command: str, function: str, schema: type[ConfigType], objective: str | None, *, backend: bool
    ) -> None:
        self.command, self.function, self.schema, self.objective = command, function, schema, objective
        self.backend = backend
        self.__module__ = f"{PACKAGE_NAME}.{command}"  # by which Hydra names the job
        self.closing = contextlib.ExitStack()
        self.begun = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "closing": contextlib.ExitStack()}

    def __call__(self, tree: DictConfig) -> float | None:
        self.begun = True
        try:
            return self._run(tree)
        except UserError as error:
            if HydraConfig.get().mode is RunMode.MULTIRUN:
                raise
            # Hydra would print a notice of its own before the error reaches `_end_in_one_line`.
            stop(str(error), error.exit_code)

    def _run(self, tree: DictConfig) -> float | None:
        config = to_config(plain_tree(tree), self.schema)
        if getattr(config, "print_config", False):
            print(OmegaConf.to_yaml(tree, resolve=True), end="")
            return None
        settings = HydraConfig.get()
        if settings.mode is RunMode.MULTIRUN and self.objective and settings.job.num == 0:
            launcher = settings.runtime.choices["hydra/launcher"]
            print(f"hydra/launcher={launcher}: records each job by itself; hydra/launcher=workers makes them one sweep")
        if self.backend:
            named(".training.backend:start_backend")()  # quietly, before anything else imports Keras
        result = named(self.function)(config, Request.of(self.command, config, settings.overrides.task))
        return named(self.objective)(config, result) if self.objective else None


def hydra_command(
    command: str,
    function: str,
    *,
    schema: type[ConfigType],
    config_name: str | None = None,
    objective: str | None = None,
    backend: bool = False,
) -> Callable[[], None]:
    """Make the console entry point of `command`, which calls `function(config, request)`, named as `module:function`.

    With `backend`, Keras is started before that module is imported.

    Hydra composes `conf/<config_name>.yaml` with the command line; the result is checked against `schema`. A UserError
    ends the process with its own exit code and one line on stderr (2 for a mistake in the config, 1 otherwise),
    Ctrl-C with 130, SIGTERM with 143; any other exception is a defect and keeps its traceback.
    """
    config_name = config_name or command

    def entry() -> None:
        # Hydra's own error report prints and exits by itself; in this mode it lets the exception through to us.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        signal.signal(signal.SIGTERM, _terminate)
        OmegaConf.register_new_resolver("groups", group_options, replace=True)
        task = HydraCommand(command, function, schema, objective, backend=backend)
        main = hydra.main(config_path=str(CONF), config_name=config_name, version_base=None)(task)
        if {"--help", "-h"} & set(sys.argv[1:]):
            main = _commented_help(main, config_name)
        _end_in_one_line(main, task)

    return entry


def _commented_help(main: Callable[[], object], config_name: str) -> Callable[[], None]:
    """`main`, which prints its help, with each value described and commands as they are typed here."""

    def show() -> None:
        said = io.StringIO()
        with _without_group_lists(), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            main()
        shown = re.sub(r"python -m src\.(\w+)", lambda match: shell_command(match[1]), said.getvalue())
        print(with_comments(shown, config_name), end="", flush=True)

    return show


@contextlib.contextmanager
def _without_group_lists() -> Iterator[None]:
    """Hydra lists the options of all groups, for which it copies each config several times, before it looks whether the
    help's template wants them: two thirds of the time for what is in no template here.
    """
    from hydra._internal.hydra import Hydra

    listed = Hydra.format_config_groups
    Hydra.format_config_groups = lambda *_, **__: ""  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.format_config_groups = listed  # type: ignore[method-assign]


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def _end_in_one_line(main: Callable[[], object], command: HydraCommand[Any]) -> None:
    """Run `main`; what is no defect of ours ends the process with its exit code and without a traceback."""
    try:
        sys.argv[1:] = as_overrides(sys.argv[1:], command.schema)
        _check_options(sys.argv[1:])
        with command.closing:
            main()
    except UserError as error:
        stop(str(error), error.exit_code)
    except COMPOSITION_ERRORS as error:
        if command.begun and not isinstance(error, HydraException | OmegaConfBaseException):
            raise
        stop(explain_composition(error, sys.argv[1:], command.schema), ConfigError.exit_code)
    except Terminated:
        stop("terminated", TERMINATED)
    except KeyboardInterrupt:
        stop("interrupted", INTERRUPTED)
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _check_options(arguments: Sequence[str]) -> None:
    """Raise ConfigError where Hydra's parser would print its usage: an option that lacks its value, say."""
    parser = get_args_parser()

    def fail(message: str) -> NoReturn:
        raise ConfigError(f"{message}; --hydra-help lists the options, and a value is set by key=value")

    parser.error = fail  # type: ignore[method-assign]
    parser.parse_args(arguments)


VALUES = "== Values =="
LINE = re.compile(r"(?P<indent> *)(?P<key>\w+):(?P<rest>.*)")
COMMENT = re.compile(r"(?:^|\s)# (?P<words>.+)$")


def with_comments(help_text: str, config_name: str) -> str:
    """The help with the comment of each value behind it."""
    before, heading, shown = help_text.partition(VALUES)
    if not heading:
        return help_text
    comments = value_comments(config_name)
    lines = [
        f"{line:<44} # {comments[path]}" if path in comments and "#" not in line else line
        for path, line in _with_paths(shown.split("\n"))
    ]
    return before + heading + "\n".join(lines)


def value_comments(config_name: str) -> dict[str, str]:
    """Dotted key -> comment, of the groups and of `conf/<config_name>.yaml`.

    An option that begins from no other says what a value is; another one's comment may be about its own value.
    """
    options = [file for file in CONF.glob("*/*.yaml") if file.parent.name != "experiment"]
    options.sort(key=lambda file: ("defaults:" in file.read_text(), file))
    files = [(f"{file.parent.name}.", file) for file in options]
    files += [("cluster.", CONF / "cluster.yaml"), ("", CONF / f"{config_name}.yaml")]
    found: dict[str, str] = {}
    for prefix, file in files:
        for path, line in _with_paths(file.read_text().split("\n")):
            if path and (comment := COMMENT.search(line)):
                found.setdefault(prefix + path, comment["words"])
    return found


def _with_paths(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Each line of a YAML text with the dotted key that it holds; empty where it holds none."""
    parents: list[tuple[int, str]] = []
    for line in lines:
        match = LINE.fullmatch(line)
        if match is None:
            yield "", line
            continue
        indent = len(match["indent"])
        parents = [*(parent for parent in parents if parent[0] < indent), (indent, match["key"])]
        yield ".".join(name for _, name in parents), line
