"""The machine and the terminal: cores, memory, native notices, progress, one-line endings and journals."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from .errors import DataError

MALLOC_OPTIONS = {-4: 0, -8: 1, -1: 2**31 - 1}
"""glibc's M_MMAP_MAX, M_ARENA_MAX and M_TRIM_THRESHOLD (malloc.h), in bytes where they are sizes."""


def usable_cores() -> list[int]:
    """The numbers of the cores that this process may use, ascending: not all that the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def keep_freed_memory() -> None:
    """Have glibc keep the memory that a step of a fit frees for the next one. To be called before there are threads,
    NumPy's among them, because each that was there has an arena of its own for good.

    glibc gives blocks of more than 32 MB back to the system at once, and what is free at the end of an arena, so that
    each step has hundreds of MB mapped anew, page by page: a third of a step of `baseline` on a CPU. One arena, no maps
    of single blocks, and 2 GiB that may stay free. Where there is no glibc, nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        for option, value in MALLOC_OPTIONS.items():
            set_option(option, value)


def return_freed_memory() -> None:
    """Have glibc give blocks of a megabyte or more back to the system as soon as they are freed.

    By itself it raises that bound to 32 MB, and each thread that decodes images keeps up to 250 MB that nobody uses.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD


def end_with_parent() -> None:
    """End this process as soon as the one that started it has ended: workers of a pool would wait for work for ever."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="ends with its parent", daemon=True).start()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Nothing that is written to stderr inside reaches it, from whatever language; exceptions do."""
    saved = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


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


def append_entry(file: Path, entry: Mapping[str, Any]) -> None:
    """Add one line, made where there is no file yet; it is on disk when this returns. Raises OSError, and then nothing
    of the line is left for a later one to follow.
    """
    size = file.stat().st_size if file.exists() else 0
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(file, size)
        raise


def read_entries(file: Path) -> list[dict[str, Any]]:
    """All entries in order; none where there is no file. A last line that a killed process did not finish is cut off,
    in the file too, so that the next entry starts a line. Raises DataError for another line that is no JSON object.
    """
    if not file.exists():
        return []
    data = file.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        os.truncate(file, whole)
    return [_entry(file, number, line) for number, line in enumerate(data[:whole].splitlines(), 1)]


def _entry(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        raise DataError(f"{file}: line {number} is no JSON object; the journal was changed by something else")
    return entry
