"""Commands whose options Typer reads; a user-fixable error is one line instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import cast

import typer

from ..errors import UserError
from ..system import INTERRUPTED, stop

UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])
"""What Typer raises for all mistakes in options; it names only some of its kinds."""


def typer_command(task: Callable[..., None]) -> Callable[[], None]:
    """A console entry point that runs `task` on `sys.argv`; a UserError ends it with its own exit code."""

    def entry() -> None:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
        app.command()(task)
        try:
            sys.exit(app(standalone_mode=False) or 0)  # else a mistake in an option is told in a box of several lines
        except UsageError as error:
            stop(error.format_message(), error.exit_code)
        except typer.Abort:
            stop("interrupted", INTERRUPTED)
        except UserError as error:
            stop(str(error), error.exit_code)

    return entry
