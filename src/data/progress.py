"""Progress bars on a terminal, silence everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SLOW = 200  # pictures; fewer are done before a bar could be read


@contextmanager
def preparation_progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that counts prepared pictures: call what it gives with (done, total)."""
    columns = (TextColumn(f"preparing {name}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=total > _SLOW)


@contextmanager
def download_progress(url: str, have: int, total: int) -> Iterator[Callable[[int], None]]:
    """A bar that counts fetched bytes, from `have` on: call what it gives with the size of each piece."""
    columns = (TextColumn(url.rpartition("/")[2][:40]), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=total or None, completed=have)
        yield lambda size: progress.advance(task, size)
