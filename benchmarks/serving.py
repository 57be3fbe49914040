"""Starting the service as a user would, for benchmarks and tests that need the real process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from src.config import PROJECT_ROOT


@dataclass(frozen=True)
class Server:
    """A running service and the port of 127.0.0.1 that it listens on."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(
    *options: str, program: tuple[str, ...] = ("-m", "src.serve"), log: IO[str] | None = None, **environment: str
) -> Iterator[Server]:
    """The service on a free port; it listens already, and is stopped at the end.

    What it writes to standard error goes to the file `log`. Raises RuntimeError where it does not start.
    """
    with subprocess.Popen(
        [sys.executable, *program, "--port", "0", *options],
        cwd=PROJECT_ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            found = re.search(r":(\d+)/$", line.strip())
            if not found:
                raise RuntimeError(f"the service did not start; it said {line!r}")
            yield Server(process, int(found[1]))
        finally:
            process.terminate()  # so that it deletes what was uploaded
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
