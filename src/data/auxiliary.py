"""Images of auxiliary classes, which teach features through a head of their own, and votes of raters as targets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import SourceConfig, VotesConfig
from ..errors import DataError
from ..system import printable
from .samples import AUXILIARY_LABEL, Sample

Votes: TypeAlias = "dict[str, float]"
"""The votes of one image by column, without those that have none."""

SHARE = "share."
"""Prefix of the columns that hold an image's share of each class of the auxiliary head."""


@dataclass(frozen=True)
class AuxiliaryImages:
    """Targets of an auxiliary head. The images of auxiliary classes come last in a data set's array.

    `classes` are those of the head; `shares`, float32 (images, classes), is how far each image of the array belongs to
    them, all zero where that is not known. `table` describes the images of auxiliary classes; `rows` are the places in
    the array of those that are trained on.
    """

    classes: tuple[str, ...]
    shares: NDArray[np.float32]
    table: pd.DataFrame
    rows: NDArray[np.int64]

    @property
    def trained(self) -> pd.DataFrame:
        """The rows of `table` that are trained on."""
        return self.table.iloc[self.rows - (len(self.shares) - len(self.table))]

    @property
    def targets(self) -> NDArray[np.float32]:
        """Share of class 1 in the votes for each auxiliary image, (len(table),): half where there are none."""
        return self._votes("target").fillna(0.5).to_numpy(dtype=np.float32)

    @property
    def weights(self) -> NDArray[np.float32]:
        """Weight of that target, (len(table),): 0 without votes for one of the two classes."""
        weights = self.table["weight"].where(self._votes("target").notna(), 0.0)
        return weights.to_numpy(dtype=np.float32)

    def _votes(self, column: str) -> pd.Series:
        return self.table.get(column, pd.Series(np.nan, self.table.index))


def with_auxiliary(samples: Sequence[Sample], config: SourceConfig) -> list[Sample]:
    """Give each sample its class as a share of the auxiliary head, where there is such a head.

    A source lists images of the auxiliary classes under the labels of `class_labels`; here they get
    `AUXILIARY_LABEL`.
    """
    if not config.auxiliary:
        return list(samples)
    return [_shared(sample, config) for sample in samples]


def _shared(sample: Sample, config: SourceConfig) -> Sample:
    if sample.label >= 0:
        return replace(sample, shares={config.positive if sample.label else config.negative: 1.0})
    return replace(sample, label=AUXILIARY_LABEL, shares={config.auxiliary[-1 - sample.label]: 1.0})


def auxiliary_images(table: pd.DataFrame, splits: NDArray[np.object_]) -> AuxiliaryImages | None:
    """Return the targets of the auxiliary head, None where there is no such head.

    The first len(splits) rows of a store's `table` are images of the two classes, with these splits. An auxiliary image
    that looks like one of validation or test, or that its source ships in another split than training, is not trained
    on.
    """
    names = [column for column in table.columns if column.startswith(SHARE)]
    if not names:
        return None
    of_two, rest = table.iloc[: len(splits)], table.iloc[len(splits) :]
    evaluated = of_two.loc[(splits == "validation") | (splits == "test"), "group"]
    shipped = rest["shipped_split"]
    usable = ~rest["group"].isin(evaluated) & (shipped.isna() | (shipped == "train"))
    return AuxiliaryImages(
        classes=tuple(name.removeprefix(SHARE) for name in names),
        shares=table[names].fillna(0.0).to_numpy(dtype=np.float32),
        table=rest.reset_index(drop=True),
        rows=len(splits) + np.flatnonzero(usable.to_numpy()),
    )


def votes_signature(config: VotesConfig) -> tuple[object, ...]:
    """Return values that change whenever the votes do. Raises DataError if the file is not there."""
    if config.path is None:
        return ()
    path = _votes_file(config)
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"dataset.votes.path={config.path}: {error.strerror or error}") from None
    return (repr(config), str(path), status.st_size, status.st_mtime_ns)


def with_votes(samples: Sequence[Sample], config: VotesConfig) -> tuple[list[Sample], dict[str, int]]:
    """Give samples targets and weights from the votes for their file names (Barsoum et al. 2016, arXiv 1608.01041).

    Return them, and by reason how many images of auxiliary classes are left out because nothing is known of them.
    The target is the share of class 1 among the votes for either class, and the weight is multiplied by the share of
    these among all votes. The sample's own label counts as one more vote in both. What the auxiliary head learns are
    the shares of its classes in the votes. Raises DataError.
    """
    if config.path is None or not samples:
        return list(samples), {}
    votes = _read_votes(config)
    found = [votes.get(PurePosixPath(sample.path).name) for sample in samples]
    if not any(counts is not None for counts in found):
        raise DataError(f"dataset.votes.path={config.path}: names none of the images, such as {samples[0].path!r}")
    voted = [_voted(sample, counts, config) for sample, counts in zip(samples, found, strict=True)]
    kept = [sample for sample in voted if sample is not None]
    return kept, {"without votes": len(voted) - len(kept)} if len(kept) < len(voted) else {}


def _voted(sample: Sample, counts: Votes | None, config: VotesConfig) -> Sample | None:
    if sample.label == AUXILIARY_LABEL:
        return _voted_auxiliary(sample, counts, config)
    own = config.positive if sample.label else config.negative
    if counts is None:
        return replace(sample, shares={own: 1.0}) if config.others else sample
    positive, total = counts.get(config.positive, 0.0) + sample.label, sum(counts.values()) + 1
    either = counts.get(config.positive, 0.0) + counts.get(config.negative, 0.0) + 1
    shares = _shares({**counts, own: counts.get(own, 0.0) + 1}, config) or {own: 1.0}
    return replace(
        sample,
        target=positive / either,
        weight=sample.weight * either / total,
        shares=shares if config.others else None,
    )


def _voted_auxiliary(sample: Sample, counts: Votes | None, config: VotesConfig) -> Sample | None:
    """Give an auxiliary image its shares, and a target from votes for the two classes; None without any votes."""
    shares = _shares(counts or {}, config)
    if not counts or not shares:
        return None
    either = counts.get(config.positive, 0.0) + counts.get(config.negative, 0.0)
    target = counts.get(config.positive, 0.0) / either if either else None
    return replace(sample, target=target, weight=sample.weight * either / sum(counts.values()), shares=shares)


def _shares(counts: Votes, config: VotesConfig) -> dict[str, float]:
    """Return the share of each class of the auxiliary head among its votes that count."""
    names = (config.negative, config.positive, *config.others)
    kept = {name: counts[name] for name in names if counts.get(name, 0.0) >= config.min_count}
    return {name: count / sum(kept.values()) for name, count in kept.items()}


def _read_votes(config: VotesConfig) -> dict[str, Votes]:
    """Read the votes for each column that has any, by the name of the image."""
    path = _votes_file(config)
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table of votes: {' '.join(str(error).split())[:200]}") from None
    classes = (config.positive, config.negative, *config.others)
    for name in (config.name, *classes):
        if name not in table:
            raise DataError(f"{path}: no column {name!r}; there is {printable(', '.join(map(str, table.columns)))}")
    table = table.groupby(config.name).sum(numeric_only=True)
    if not set(classes) <= set(table) or not (table >= 0).all(axis=None):
        raise DataError(f"{path}: votes must be numbers of at least 0")
    rows = table.to_numpy(dtype=float)
    names = [str(name) for name in table]
    counts = [{name: count for name, count in zip(names, row, strict=True) if count} for row in rows.tolist()]
    return dict(zip(map(str, table.index), counts, strict=True))


def _votes_file(config: VotesConfig) -> Path:
    return Path(os.path.abspath(Path(os.path.expanduser(config.path or ""))))
