"""Starting the service as a user would, for tests that need the real process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from src.config import PROJECT_ROOT

WITHOUT_GRADIO = "import sys; sys.modules['gradio'] = None; from src.serve import main; main()"


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(*options: str, program: tuple[str, ...] = ("-m", "src.serve"), **environment: str) -> Iterator[Server]:
    """The service on a free port; it listens already, and is killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, *program, "--port", "0", *options],
        cwd=PROJECT_ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            found = re.search(r":(\d+)/$", line.strip())
            assert found, f"no address in {line!r}"
            yield Server(process, int(found[1]))
        finally:
            process.kill()
