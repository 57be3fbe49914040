"""The best trial as something to run again: a command, and an experiment file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from src.config import PROJECT_ROOT
from src.sweeps.search.oracle import Result, Search, Trial, minimised
from src.tracking.provenance import command_line

NOT_THE_RESULT = ("tracking", "output", "dataset.cache", "dataset.workers")


def best_trial(search: Search, objective: str) -> tuple[Trial, Result] | None:
    """The completed trial with the best score, the earliest of equals; None where none completed."""
    sign = 1 if minimised(objective) else -1
    completed = [key for key, result in search.results.items() if result.status == "completed"]
    best = min(completed, key=lambda key: (sign * (search.results[key].score or 0.0), key), default=None)
    return None if best is None else (search.trials[best], search.results[best])


def write_experiment(overrides: Sequence[str], name: str, facts: Sequence[str]) -> Path:
    """Write `experiments/tuned_<name>.yaml`, which makes `src.train +experiment=tuned_<name>` the run of `overrides`.

    `facts` are lines for the head of the file. Where runs are recorded and cached is left to the person who runs it.
    """
    kept = [override for override in overrides if not override.startswith(NOT_THE_RESULT)]
    groups: list[Any] = []
    tree: dict[str, Any] = {}
    for override in OverridesParser.create().parse_overrides(kept):
        key = override.key_or_group
        if (PROJECT_ROOT / "conf" / key).is_dir():
            groups.append({f"override /{key}": override.value()})
        else:
            _set(tree, key.split("."), _plain(override.value()))
    file = PROJECT_ROOT / "experiments" / f"tuned_{name}.yaml"
    head = [
        *facts,
        f"Again: python -m src.train +experiment=tuned_{name}",
        f"That is: {command_line('src.train', kept)}",
    ]
    body = yaml.safe_dump({"defaults": groups, **tree} if groups else tree, sort_keys=False)
    file.write_text("# @package _global_\n" + "".join(f"# {line}\n" for line in head) + body)
    return file


def _set(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _plain(value: Any) -> Any:
    """A value of Hydra's grammar without the quotes that it had on the command line."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value if isinstance(value, int | float | bool | None) else str(value)
