"""Random command lines, none of which may end in a traceback: `python -m benchmarks fuzz command_lines=LINES`.

Prints how many were accepted, how many were rejected in one line, and every line that was a defect. Each core takes a
share, in a process that is forked from one that has everything imported; the YAML files are parsed once.
"""

from __future__ import annotations

import contextlib
import gc
import io
import multiprocessing
import pickle
import random
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigResult
from rich.console import Console

from src.system import usable_cores
from src.train import main
from tests.test_cli import random_override


def parse_files_once() -> None:
    """Have Hydra parse each of its files once in this process and those forked from it; each caller gets a copy."""
    parse, parsed = FileConfigSource.load_config, dict[tuple[str, str], bytes]()

    def load_config(source: FileConfigSource, config_path: str) -> ConfigResult:
        key = source.path, config_path
        if key not in parsed:
            parsed[key] = pickle.dumps(parse(source, config_path))
        return pickle.loads(parsed[key])  # noqa: S301 - of our own making

    FileConfigSource.load_config = load_config  # type: ignore[method-assign]


def answer(arguments: list[str]) -> str:
    """`accepted`, `one line`, or what the process would have died of."""
    sys.argv = ["src/train.py", *arguments, "print_config=true"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            main()
    except SystemExit as stop:
        return "one line" if stop.code == 2 and said.getvalue().count("\n") == 1 else f"exit code {stop.code}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the finding
        return f"{type(error).__name__}: {error}"
    return "accepted"


def answers(lines: Sequence[list[str]]) -> list[tuple[list[str], str]]:
    """Each line with its answer."""
    gc.disable()  # a third of the time; there is little to collect
    found = []
    for arguments in lines:
        found.append((arguments, answer(list(arguments))))
        if len(found) % 200 == 0:
            gc.collect()
    return found


def command_lines(count: int) -> int:
    """Try `count` command lines and print the counts. Returns how many were defects."""
    generator, start = random.Random(0), time.perf_counter()  # noqa: S311 - not a secret
    lines = [[random_override(generator) for _ in range(generator.choice([1, 1, 2, 3]))] for _ in range(count)]
    parse_files_once()
    answer([])
    shares = [lines[first : first + 100] for first in range(0, count, 100)]
    counts = Counter[str]()
    with multiprocessing.get_context("fork").Pool(len(usable_cores())) as pool:
        for found in pool.imap_unordered(answers, shares):
            for arguments, result in found:
                known = result in ("accepted", "one line")
                counts[result if known else "defect"] += 1
                if not known:
                    print(f"{shlex.join(arguments)}: {result}", flush=True)
        pool.close()  # ended by SIGTERM, a worker would answer as a command does
        pool.join()
    Console().print(f"{count:,} lines in {time.perf_counter() - start:.0f} s: {dict(counts)}", highlight=False)
    return counts["defect"]
