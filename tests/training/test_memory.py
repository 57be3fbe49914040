"""A fit keeps the memory that its steps free, in one arena of glibc's."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from src.config import PROJECT_ROOT
from tests.composing import TINY

SCRIPT = """
import ctypes, resource, sys
import src.train

src.train.main()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen({path!r}.encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)

import numpy as np

def mapped():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

mapped()
print("pages", mapped())
"""


@pytest.mark.integration
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back so")
def test_a_step_finds_the_memory_that_the_last_one_freed(tmp_path: Path, sandbox: list[str]) -> None:
    arenas = tmp_path / "arenas.xml"
    command = [sys.executable, "-c", SCRIPT.format(path=str(arenas)), *TINY, *sandbox, "trainer.epochs=1"]
    ended = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert re.findall(r'<heap nr="(\d+)"', arenas.read_text()) == ["0"]
    (pages,) = re.findall(r"^pages (\d+)$", ended.stdout, re.MULTILINE)
    assert int(pages) < 100  # of 19,532
