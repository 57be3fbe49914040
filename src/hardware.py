"""What this machine gives to the process, and how a process that helps another ends with it."""

from __future__ import annotations

import os
import threading


def usable_cores() -> list[int]:
    """The numbers of the cores that this process may use, ascending: not all that the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


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
