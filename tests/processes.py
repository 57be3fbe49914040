"""Commands in processes of their own, forked from a server that has imported TensorFlow, Keras and MLflow once.

A cold start costs five seconds and more of the processor, a fork a tenth of one. Sweeps fork their workers from the
same server. One test per command starts Python anew (`tests/test_cli.py`).
"""

from __future__ import annotations

import atexit
import importlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import mkdtemp

from src.config import PROJECT_ROOT
from src.sweeps.pool import start_fork_server


@dataclass(frozen=True)
class Started:
    """A command on its way, and the files that take its output and errors."""

    process: BaseProcess
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait until the output holds `text`. Fails if the command ends before, or `seconds` are over."""
        end = time.monotonic() + seconds
        while text not in self.out.read_text():
            if not self.process.is_alive() or time.monotonic() > end:
                raise AssertionError(f"no {text!r} in {self.out.read_text()}{self.err.read_text()}")
            time.sleep(0.02)

    def wait(self, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Return exit code, output and errors, as `subprocess.run` does; end the command after `seconds`."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"still running after {seconds} s: {self.out.read_text()}{self.err.read_text()}")
        return subprocess.CompletedProcess(
            self.process.name, self.process.exitcode, self.out.read_text(), self.err.read_text()
        )


def start(module: str, *arguments: str, cwd: Path = PROJECT_ROOT, **environment: str) -> Started:
    """Start `python -m MODULE ARGUMENTS` in a fork of the server, with `environment` added to this process's."""
    folder = Path(mkdtemp(prefix="command-"))
    out, err = folder / "out", folder / "err"
    for file in (out, err):
        file.touch()
    values = (module, list(arguments), cwd, {**os.environ, **environment}, out, err)
    process = start_fork_server().Process(target=_run, args=values, name=module)
    process.start()
    return Started(process, out, err)


def _run(module: str, arguments: list[str], cwd: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False, buffering=1) for number in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = [module.replace(".", "/") + ".py", *arguments]
    try:
        importlib.import_module(module).main()
    finally:
        atexit._run_exitfuncs()  # processes of multiprocessing leave without them
