"""Votes of several raters as targets: an image on whose class they disagree is not trained towards certainty."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import pandas as pd

from ...config import VotesConfig
from ...errors import DataError
from ...terminal import printable
from ..samples import NEITHER, Sample

Votes: TypeAlias = "dict[str, float]"
"""The votes of one image by column, without those that have none."""


def votes_signature(config: VotesConfig) -> tuple[object, ...]:
    """What changes whenever the votes do; empty where there are none. Raises DataError if the file is not there."""
    if config.path is None:
        return ()
    path = _file(config)
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"dataset.votes.path={config.path}: {error.strerror or error}") from None
    return (repr(config), str(path), status.st_size, status.st_mtime_ns)


def with_votes(samples: Sequence[Sample], config: VotesConfig) -> tuple[list[Sample], dict[str, int]]:
    """Samples with targets and weights from the votes for images of their file names (Barsoum et al. 2016, arXiv
    1608.01041); those without votes stay as they are. Then how many images of auxiliary classes are left out because
    nothing is known of them, by reason.

    The target is the share of class 1 among the votes for either class, and the weight is multiplied by the share of
    these among all votes. The sample's own label counts as one more vote in both. What the auxiliary head learns are
    the shares of its classes in the votes. Raises DataError.
    """
    if config.path is None or not samples:
        return list(samples), {}
    votes = _read(config)
    found = [votes.get(PurePosixPath(sample.path).name) for sample in samples]
    if not any(counts is not None for counts in found):
        raise DataError(f"dataset.votes.path={config.path}: names none of the images, such as {samples[0].path!r}")
    voted = [_voted(sample, counts, config) for sample, counts in zip(samples, found, strict=True)]
    kept = [sample for sample in voted if sample is not None]
    return kept, {"without votes": len(voted) - len(kept)} if len(kept) < len(voted) else {}


def _voted(sample: Sample, counts: Votes | None, config: VotesConfig) -> Sample | None:
    if sample.label == NEITHER:
        return _voted_neither(sample, counts, config)
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


def _voted_neither(sample: Sample, counts: Votes | None, config: VotesConfig) -> Sample | None:
    """An image of neither class, of which some votes may be for one of them; None where no votes tell what it is."""
    shares = _shares(counts or {}, config)
    if not counts or not shares:
        return None
    either = counts.get(config.positive, 0.0) + counts.get(config.negative, 0.0)
    target = counts.get(config.positive, 0.0) / either if either else None
    return replace(sample, target=target, weight=sample.weight * either / sum(counts.values()), shares=shares)


def _shares(counts: Votes, config: VotesConfig) -> dict[str, float]:
    """The share of each class of the auxiliary head among its votes that count."""
    names = (config.negative, config.positive, *config.others)
    kept = {name: counts[name] for name in names if counts.get(name, 0.0) >= config.min_count}
    return {name: count / sum(kept.values()) for name, count in kept.items()}


def _read(config: VotesConfig) -> dict[str, Votes]:
    """By the name of an image: the votes for each column that has any."""
    path = _file(config)
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


def _file(config: VotesConfig) -> Path:
    return Path(os.path.abspath(Path(os.path.expanduser(config.path or ""))))
