"""Every source gives the same thing: a `Listing` of samples, made without reading a single image.

A source is one function, registered by its name: see `register_source`, and `source_path`, `entries_of` and
`class_labels` for what most of them begin with. Those of this package are imported here.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

from ...config import DatasetConfig, SourceConfig, suggest
from ...config.base import ENVIRONMENT, role_of
from ...errors import ConfigError, DataError
from ..auxiliary import votes_signature, with_auxiliary, with_votes
from ..samples import AUXILIARY_LABEL, Sample
from . import folders, manifest, published, synthetic  # noqa: F401  (each registers its sources)
from .download import source_path
from .folders import (
    COMBINED,
    SOURCES,
    Listing,
    RejectedEntry,
    Source,
    class_labels,
    combined,
    entries_of,
    register_source,
)

__all__ = [
    "Listing",
    "RejectedEntry",
    "class_labels",
    "entries_of",
    "list_samples",
    "listing_signature",
    "register_source",
    "source_path",
]


def list_samples(config: DatasetConfig) -> Listing:
    """Return the samples of a data set, of one source or of several together, in an order that the sources fix.

    Raises ConfigError for a source that does not exist, and DataError if one cannot be found or read, or has no
    image of one class.
    """
    if config.source != COMBINED:
        listing = _list_source(config, config.name)
    elif config.sources:
        listing = combined([_list_source(source, name) for name, source in config.sources.items()])
    else:
        raise DataError("dataset.source=combined: dataset.sources names no source")
    _check_classes(listing, config)
    return listing


def listing_signature(config: DatasetConfig) -> tuple[object, ...] | None:
    """Return values that change whenever the listing does; None where that takes making the listing.

    Raises ConfigError for a source that does not exist, and DataError if a file cannot be found.
    """
    if config.source != COMBINED:
        return _source_signature(config)
    signatures = [_source_signature(source) for source in config.sources.values()]
    return None if None in signatures or not signatures else (*config.sources, *signatures)


def _source_signature(config: SourceConfig) -> tuple[object, ...] | None:
    changes_with = _registered(config).changes_with
    names = [field.name for field in fields(SourceConfig) if role_of(field.name, SourceConfig) != ENVIRONMENT]
    known = (repr(getattr(config, name)) for name in names if name != "votes")
    values = (*known, *votes_signature(config.votes))
    if changes_with == "config":
        return values
    path = source_path(config) if changes_with == "file" else None
    if path is None or not path.is_file():
        return None
    status = path.stat()
    return (*values, str(path), status.st_size, status.st_mtime_ns)


def _list_source(config: SourceConfig, name: str) -> Listing:
    listing = _registered(config).list(config)
    samples = [replace(sample, source=name, weight=sample.weight * config.weight) for sample in listing.samples]
    rejections = [replace(each, source=name, label=max(each.label, AUXILIARY_LABEL)) for each in listing.rejections]
    samples, silent = with_votes(with_auxiliary(_with_subjects(samples, config.group_pattern), config), config.votes)
    return Listing(samples, rejections, {**listing.ignored, **silent})


def _registered(config: SourceConfig) -> Source:
    if config.source in SOURCES:
        return SOURCES[config.source]
    whole = isinstance(config, DatasetConfig)
    key = "dataset.source" if whole else f"dataset.sources.{config.name}.source"
    known = sorted({*SOURCES, COMBINED} if whole else SOURCES)
    raise ConfigError(f"{key}={config.source}: accepts {', '.join(known)}{suggest(config.source, known)}")


def _with_subjects(samples: list[Sample], pattern: str | None) -> list[Sample]:
    """Return samples with the subject that `pattern` finds in their paths, where they have none yet."""
    if pattern is None or not samples:
        return samples
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DataError(f"dataset.group_pattern={pattern!r} is no regular expression: {error}") from None
    found = [expression.search(sample.path) for sample in samples]
    if not any(found):
        raise DataError(f"dataset.group_pattern={pattern!r} finds nothing in any path, such as {samples[0].path!r}")
    return [
        replace(sample, subject=sample.subject or (match.group(1 if expression.groups else 0) if match else None))
        for sample, match in zip(samples, found, strict=True)
    ]


def _check_classes(listing: Listing, config: DatasetConfig) -> None:
    counts = Counter(sample.label for sample in listing.samples)
    where = f"dataset.path={config.path}" if config.path else f"dataset={config.name}"
    if listing.rejections and not counts:
        count, first = len(listing.rejections), listing.rejections[0]
        raise DataError(f"{where}: none of its {count:,} images can be used, such as {first.path!r}: {first.detail}")
    if not counts:
        hint = f"; there is {', '.join(map(repr, sorted(listing.ignored)[:6]))}" if listing.ignored else ""
        if Path(config.path or "").name.casefold() in (config.positive.casefold(), config.negative.casefold()):
            hint = "; name the folder above, which holds both"
        raise DataError(
            f"{where}: no images in folders named {config.positive!r} and {config.negative!r}{hint}; "
            "dataset.positive and dataset.negative name the classes"
        )
    for label, name in ((1, config.positive), (0, config.negative)):
        if not counts[label]:
            key = "positive" if label else "negative"
            hint = f" (there is {', '.join(sorted(listing.ignored)[:6])}; see dataset.{key})" if listing.ignored else ""
            raise DataError(f"{where}: no images of class {name!r}, two classes are needed{hint}")
