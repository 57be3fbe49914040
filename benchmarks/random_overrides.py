"""Random command lines, none of which may end in a traceback: `python -m benchmarks.random_overrides [LINES]`.

Prints how many were taken, how many were answered in one line, and every line that was a defect.
"""

from __future__ import annotations

import contextlib
import io
import random
import shlex
import sys
import time
from collections import Counter

from rich.console import Console

from src.train import main
from tests.test_cli import random_override


def answer(arguments: list[str]) -> str:
    """`taken`, `one line`, or what the process would have died of."""
    sys.argv = ["src/train.py", *arguments, "print_config=true"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            main()
    except SystemExit as stop:
        return "one line" if stop.code == 2 and said.getvalue().count("\n") == 1 else f"exit code {stop.code}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the finding
        return f"{type(error).__name__}: {error}"
    return "taken"


def run(lines: int) -> int:
    """Try `lines` command lines and print the counts. Returns how many were defects."""
    generator, counts, start = random.Random(0), Counter[str](), time.perf_counter()  # noqa: S311 - not a secret
    defects = 0
    for _ in range(lines):
        arguments = [random_override(generator) for _ in range(generator.choice([1, 1, 2, 3]))]
        result = answer(arguments)
        counts[result if result in ("taken", "one line") else "defect"] += 1
        if result not in ("taken", "one line"):
            defects += 1
            print(f"{shlex.join(arguments)}: {result}")
    Console().print(f"{lines} lines in {time.perf_counter() - start:.0f} s: {dict(counts)}", highlight=False)
    return defects


if __name__ == "__main__":
    sys.exit(1 if run(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000) else 0)
