"""A preparation that is killed leaves no process behind."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from src.config import PROJECT_ROOT
from src.system import usable_cores


@pytest.mark.integration
@pytest.mark.skipif(len(usable_cores()) == 1, reason="one core decodes without workers")
def test_workers_end_with_the_process_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "src.prepare", "dataset.synthetic.count=1000000", "dataset.image_size=64"]
    command += [f"output={tmp_path / 'report'}", f"dataset.cache={tmp_path / 'cache'}"]
    process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while (
            len(workers := psutil.Process(process.pid).children(recursive=True)) < 3
        ):  # two, and what tracks resources
            assert process.poll() is None
            assert time.monotonic() < deadline, "no workers were started"
            time.sleep(0.1)
        time.sleep(3)  # they are at work
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    for worker in alive:
        worker.kill()
    assert not alive
