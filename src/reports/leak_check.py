"""Whether two data sets share images: the question to ask before a test score is quoted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import DatasetConfig
from ..data.duplicates import connected_groups, equal_pairs, lookalike_pairs
from ..data.prepared import PreparedDataset
from .pages import Thumbnail, render, thumbnail, write_page

PAGE = "leak_check.html"
_MAX_GROUPS = 80
_MAX_OF_A_SIDE = 4


@dataclass(frozen=True)
class LeakCheck:
    """What two data sets share. Each of `shared` is a group of images that look alike, as rows of either set."""

    first: PreparedDataset
    second: PreparedDataset
    shared: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    same_files: int
    """Images of the second set of which the first holds the very same file."""

    @property
    def names(self) -> tuple[str, str]:
        """The names of the two sets, numbered where both have one name."""
        first, second = self.first.name, self.second.name
        return (first, second) if first != second else (f"the first {first}", f"the second {second}")

    @property
    def leaked(self) -> tuple[int, int]:
        """Images of the first set and of the second that look like one of the other."""
        return sum(len(rows) for rows, _ in self.shared), sum(len(rows) for _, rows in self.shared)

    @property
    def other_labels(self) -> int:
        """Shared groups in which the two sets do not agree on one label."""
        return sum(self.disagrees(left, right) for left, right in self.shared)

    def disagrees(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> bool:
        """Whether rows `left` of the first set and `right` of the second carry two labels."""
        first, second = self.first.table["label"].to_numpy(), self.second.table["label"].to_numpy()
        return len({*first[left], *second[right]}) > 1


def check_leaks(first: PreparedDataset, second: PreparedDataset, config: DatasetConfig) -> LeakCheck:
    """Compare two sets that were prepared at one size, by the rules of `config`; the largest groups come first."""
    both = pd.concat([first.table, second.table], ignore_index=True)
    alike = [equal_pairs(both["pixel_digest"].to_numpy(dtype=str)), equal_pairs(both["sha256"].to_numpy(dtype=str))]
    features = pd.concat([first.features, second.features], ignore_index=True)
    alike.append(lookalike_pairs(both.join(features), config))
    left, right = (np.concatenate([pairs[side] for pairs in alike]) for side in (0, 1))
    groups = connected_groups(len(both), (left, right))
    count = len(first.table)
    common = np.intersect1d(groups[:count], groups[count:])
    members = [np.flatnonzero(groups == group) for group in common]
    members.sort(key=len, reverse=True)
    shared = [(rows[rows < count], rows[rows >= count] - count) for rows in members]
    same_files = int(second.table["sha256"].isin(first.table["sha256"]).sum())
    return LeakCheck(first, second, shared, same_files)


def write_leak_page(check: LeakCheck, folder: Path) -> Path:
    """Write the check as one self-contained page with thumbnails into `folder`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    first, second = check.first, check.second
    strips = [
        {
            "first": [_shown(first, row) for row in left[:_MAX_OF_A_SIDE]],
            "second": [_shown(second, row) for row in right[:_MAX_OF_A_SIDE]],
            "conflict": check.disagrees(left, right),
        }
        for left, right in check.shared[:_MAX_GROUPS]
    ]
    write_page(folder / PAGE, render("leak_check.html", check=check, strips=strips))
    return folder / PAGE


def _shown(dataset: PreparedDataset, row: int) -> Thumbnail:
    path, label = dataset.table["path"].iloc[row], int(dataset.table["label"].iloc[row])
    caption = f"{dataset.name}: {path} · {dataset.class_names[label]}"
    return thumbnail(dataset.images[row], caption, "positive" if label else "negative")
