"""What this machine gives to the process, and how a process that helps another ends with it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading

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
