"""Names that recorded runs still hold: config keys and values as they were called when the runs were made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .roles import added_defaults, as_text
from .run import Config

KEYS = {
    "dataset.drawn.": "dataset.synthetic.",
    "dataset.cross_part_duplicates": "dataset.cross_split_duplicates",
    "evaluation.smallest_slice": "evaluation.min_slice_size",
}
"""Earlier beginning of a flat key -> the present one."""

GONE = ("tracking.parent", "tracking.job")
"""Flat keys that configs no longer have."""

ABSENT = {"trainer.statistics_images": 0}
"""What a config of a run that is older than a key stands for, where that is not today's default."""

COLUMNS = {"called": "predicted", "part": "shipped_split"}
"""Earlier column of a recorded table -> the present one."""


def present_key(key: str) -> str:
    """The present name of a flat config key: `dataset.drawn.count` is `dataset.synthetic.count`, in a source too."""
    if in_source := re.fullmatch(r"(dataset\.sources\.[^.]+)\.(.+)", key):
        return in_source[1] + present_key(f"dataset.{in_source[2]}").removeprefix("dataset")
    for earlier, present in KEYS.items():
        if key.startswith(earlier):
            return present + key.removeprefix(earlier)
    return key


def present_params(params: Mapping[str, str]) -> dict[str, str]:
    """Recorded flat parameters under their present names, with those that the run is older than."""
    present = {present_key(key): value for key, value in params.items()}
    absent = {**added_defaults(Config), **ABSENT}
    older = {key: as_text(value) for key, value in absent.items() if f"{key.partition('.')[0]}.name" in present}
    return older | present


def present_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded config under the present names of its keys and sources, nested as it was; without a fold that its
    split had no use for, which is rejected now.
    """
    present: dict[str, Any] = {}
    for key, value in [*ABSENT.items(), *_flat(tree, "")]:
        if key in GONE:
            continue
        node = present
        *parents, last = present_key(key).split(".")
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = "synthetic" if last == "source" and value == "drawn" else value
    dataset = present.get("dataset")
    split = dataset.get("split") if isinstance(dataset, dict) else None
    if isinstance(split, dict) and split.get("method") != "kfold":
        split.pop("fold", None)
    return present


def _flat(tree: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows
