"""Votes of several raters as targets: a picture on whose class they disagree is not trained towards certainty."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pandas as pd

from ...config import VotesConfig
from ...errors import DataError
from ..samples import Sample


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


def with_votes(samples: Sequence[Sample], config: VotesConfig) -> list[Sample]:
    """Samples with targets and weights from the votes for pictures of their file names (Barsoum et al. 2016, arXiv
    1608.01041); those without votes stay as they are.

    The target is the share of class 1 among the votes for either class, and the weight is multiplied by the share of
    these among all votes. The sample's own label counts as one more vote in both. Raises DataError.
    """
    if config.path is None:
        return list(samples)
    votes = _read(config)
    found = [votes.get(PurePosixPath(sample.path).name) for sample in samples]
    if not any(found):
        raise DataError(f"dataset.votes.path={config.path}: names none of the pictures, such as {samples[0].path!r}")
    return [
        sample if counts is None else _voted(sample, *counts) for sample, counts in zip(samples, found, strict=True)
    ]


def _voted(sample: Sample, positive: float, negative: float, total: float) -> Sample:
    either = positive + negative + 1
    weight = sample.weight * either / (total + 1)
    return replace(sample, target=(positive + sample.label) / either, weight=weight)


def _read(config: VotesConfig) -> dict[str, tuple[float, float, float]]:
    """By name: votes for class 1, for class 0, and all."""
    path = _file(config)
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table of votes: {' '.join(str(error).split())[:200]}") from None
    for name in (config.name, config.positive, config.negative):
        if name not in table:
            raise DataError(f"{path}: no column {name!r}; there is {', '.join(map(str, table.columns))}")
    table = table.groupby(config.name).sum(numeric_only=True)
    if not {config.positive, config.negative} <= set(table) or not (table >= 0).all(axis=None):
        raise DataError(f"{path}: votes must be numbers of at least 0")
    counts = zip(table[config.positive], table[config.negative], table.sum(axis=1), strict=True)
    return dict(zip(map(str, table.index), counts, strict=True))


def _file(config: VotesConfig) -> Path:
    return Path(os.path.abspath(Path(config.path or "").expanduser()))
