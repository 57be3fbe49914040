"""Text that others chose, such as a file's name, made safe to print; how far long work is; and how a command ends."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NoReturn, TypeVar

Item = TypeVar("Item")
INTERRUPTED, TERMINATED = 130, 143
"""The exit codes of a process that Ctrl-C or SIGTERM ended."""


def printable(text: str) -> str:
    """`text` on one line, with escapes for control characters, for marks that turn the direction of writing, and for
    what is no text at all, so that it can neither steer a terminal nor pass for another line.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def stop(message: str, exit_code: int) -> NoReturn:
    """End the process with one line on stderr."""
    print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(exit_code)


def progress(items: Iterable[Item], doing: str, total: int | None = None) -> Iterable[Item]:
    """Return the same items; where stderr is a terminal, with a bar there, how many are done and the time left."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)

    def counted() -> Iterable[Item]:
        with bar:
            yield from bar.track(items, total, description=doing)

    return counted()
