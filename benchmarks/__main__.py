"""Benchmarks by name: `python -m benchmarks speed|faults|fuzz [NAME[=COUNT] ...]`.

Without names, each command runs all of its measurements at the size that the records in RESULTS.md, RELIABILITY.md and
SECURITY.md have; an unknown name lists them. `speed` without names rewrites the table in RESULTS.md.
"""

from __future__ import annotations

import importlib
import sys

COMMANDS = ("speed", "faults", "fuzz")

if __name__ == "__main__":
    command, *names = sys.argv[1:] or [""]
    if command not in COMMANDS:
        sys.exit(f"{command or 'no command'}: accepts {', '.join(COMMANDS)}")
    importlib.import_module(f"benchmarks.{command}").main(*names)
