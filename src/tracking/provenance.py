"""Provenance of a run: the exact command, the code's state, the versions and the machine."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from ..config import PROJECT_ROOT

MAX_NEW_BYTES = 10_000_000


def provenance_tags(command: str, backend: str, device: str, precision: str) -> dict[str, str]:
    """Tags of a run: command, git commit and whether the tree was dirty, backend, device, versions."""
    commit = _git("rev-parse", "HEAD")
    git = {"git.commit": commit, "git.dirty": str(bool(_git("status", "--porcelain"))).lower()} if commit else {}
    packages = {f"version.{name}": _version(name) for name in ("keras", backend)}
    return {
        "command": command,
        "directory": str(Path.cwd()),  # from which relative paths of the command and the parameters count
        "backend": backend,
        "device": device,
        "precision": precision,
        "version.python": platform.python_version(),
        **packages,
        **git,
    }


def uncommitted_changes(root: Path = PROJECT_ROOT) -> bytes:
    """The difference of the working tree at `root` to the last commit, as a patch for `git apply`; empty where there is
    none or no git. Of new files that git does not ignore, the smallest are in it, of `MAX_NEW_BYTES` together; a line
    before the patch says how many are not.
    """
    sizes = {}
    for name in _output("ls-files", "--others", "--exclude-standard", "-z", root=root).split(b"\0"):
        with contextlib.suppress(OSError):  # a file that has gone since
            found = os.lstat(os.path.join(os.fsencode(root), name))
            if not stat.S_ISDIR(found.st_mode):
                sizes[name] = found.st_size
    new = sorted(sizes, key=lambda name: sizes[name])
    taken = new[: int(np.searchsorted(np.cumsum([sizes[name] for name in new]), MAX_NEW_BYTES, side="right"))]
    with tempfile.TemporaryDirectory() as folder:  # for an index of its own: the user's stays as it is
        index = Path(folder) / "index"
        _output("read-tree", "HEAD", root=root, index=index)
        names = ("--pathspec-from-file=-", "--pathspec-file-nul")
        _output(
            "--literal-pathspecs", "add", "--intent-to-add", *names, root=root, given=b"\0".join(taken), index=index
        )
        changes = _output("diff", "--binary", "HEAD", root=root, index=index)
    left_out = [os.fsdecode(name) for name in new[len(taken) :]]
    told = f"new files that are not in this patch: {len(left_out)}, {left_out[0]!r} among them\n" if left_out else ""
    return told.encode() + changes


def _git(*arguments: str) -> str:
    return _output(*arguments).decode(errors="replace").strip()


def _output(*arguments: str, root: Path = PROJECT_ROOT, given: bytes = b"", index: Path | None = None) -> bytes:
    try:
        answer = subprocess.run(  # noqa: S603 - the project's own arguments
            ["git", *arguments],  # noqa: S607 - the user's own git
            cwd=root,
            env=os.environ if index is None else os.environ | {"GIT_INDEX_FILE": str(index)},
            input=given,
            capture_output=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return b""
    return answer.stdout


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


PREFIX = "system/"
Log = Callable[[Mapping[str, float], int], None]


@contextlib.contextmanager
def system_metrics(run_id: str, log: Log, first_step: int = 0) -> Iterator[None]:
    """Hand `system/*` of processors, memory, disk, network and GPUs to `log(metrics, step)` from a thread, every ten
    seconds or as MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL says. GPUs are seen where `nvidia-ml-py` is installed.

    MLflow's monitor asks the server whether the run still goes, and gives up where it is away; its measuring is used
    here, its thread and its sending are not.
    """
    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor, ended = SystemMetricsMonitor(run_id), threading.Event()

    def measure() -> None:
        step = first_step
        monitor.collect_metrics()  # rates count from here
        while not ended.wait(monitor.sampling_interval):
            monitor.collect_metrics()
            log({f"{PREFIX}{name}": float(value) for name, value in monitor.aggregate_metrics().items()}, step)
            for each in monitor.monitors:
                each.clear_metrics()
            step += 1

    thread = threading.Thread(target=measure, name="system metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
