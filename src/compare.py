"""Find runs that differ by more than chance, and by how much: `python -m src.compare experiment=NAME metric=accuracy`.

Reads recorded runs, compares those evaluated on the same test images, writes one HTML page and a Markdown table to
`output` and logs both to the experiment.
"""

from __future__ import annotations

import sys

from .cli.hydra_command import hydra_command
from .config import CompareConfig


def as_override(argument: str) -> str:
    """An argument in Hydra's grammar: `filter=` may hold quotes, `experiment=` is short for its long key."""
    key, equals, value = argument.partition("=")
    if key == "experiment" and equals:
        return f"tracking.experiment={value}"
    if key == "filter" and equals and not value.startswith(('"', "'")):
        escaped = value.replace('"', '\\"')
        return f'filter="{escaped}"'
    return argument


def main() -> None:
    """Run the command on `sys.argv`."""
    sys.argv[1:] = [as_override(argument) for argument in sys.argv[1:]]
    hydra_command("compare", ".comparison.run_comparison:compare_runs", schema=CompareConfig)()


if __name__ == "__main__":
    main()
