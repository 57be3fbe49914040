"""Commands whose options Typer reads; a user-fixable error is one line instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from ..errors import UserError
from ..terminal import printable


def typer_command(task: Callable[..., None]) -> Callable[[], None]:
    """A console entry point that runs `task` on `sys.argv`; a UserError ends it with its own exit code."""

    def entry() -> None:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
        app.command()(task)
        try:
            app()
        except UserError as error:
            print(f"error: {printable(str(error))}", file=sys.stderr)
            sys.exit(error.exit_code)

    return entry
