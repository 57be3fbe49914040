"""What a source gives, how one is registered by its name, and how an image's path tells its class and split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ...config import SourceConfig
from ...errors import DataError
from ..samples import Locator, Rejection, Sample, Split

SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "train_set"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "val_set", "dev", "publictest"), "validation"),
    **dict.fromkeys(("test", "testing", "test_set", "privatetest"), "test"),
}
"""What data sets call their splits, in lower case."""

COMBINED = "combined"
"""What `dataset.source` is for several sources together."""

Entry: TypeAlias = "tuple[str, Locator | RejectedEntry]"
"""A path with forward slashes, relative to the root of the data, and where its bytes are or why it is rejected."""


@dataclass(frozen=True, slots=True)
class RejectedEntry:
    """Why an entry is not even opened, for a person."""

    reason: str


@dataclass(frozen=True)
class Listing:
    """Samples in a fixed order, entries that are rejected unread, and other folders or labels with their counts."""

    samples: list[Sample]
    rejections: list[Rejection] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)


Lister: TypeAlias = "Callable[[SourceConfig], Listing]"


@dataclass(frozen=True)
class Source:
    """A way to find images: the function that lists them, and what else than the config its listing depends on."""

    list: Lister
    changes_with: Literal["config", "file", "listing"]


SOURCES: dict[str, Source] = {}
"""By the name that `dataset.source` gives; filled by `register_source`."""


def register_source(
    name: str, *, changes_with: Literal["config", "file", "listing"] = "listing"
) -> Callable[[Lister], Lister]:
    """Register the function that it decorates as the source of `dataset.source=name`, here or in another package.

    The function lists samples without reading a single image, and raises DataError. Whether data must be prepared
    anew follows from the listing, which is made each time. A source may say that less will do: that its listing
    `changes_with` the `config` alone, or with the `file` at the config's path where that is one file. Raises ValueError
    for a name that is taken.
    """

    def register(lister: Lister) -> Lister:
        if name in SOURCES or name == COMBINED:
            raise ValueError(f"there is a source {name!r} already")
        SOURCES[name] = Source(lister, changes_with)
        return lister

    return register


def class_labels(config: SourceConfig) -> dict[str, int]:
    """Class name in lower case -> label; the auxiliary classes are counted down from -1.

    Raises DataError if two classes have one name.
    """
    names = [config.negative, config.positive, *config.auxiliary]
    labels = {name.casefold(): label for name, label in zip(names, (0, 1, *range(-1, -len(names), -1)), strict=False)}
    if config.positive.casefold() == config.negative.casefold():
        raise DataError(f"dataset.positive and dataset.negative are both {config.positive!r}")
    if len(labels) < len(names):
        raise DataError(f"dataset.auxiliary={config.auxiliary}: names a class twice, or one of the two classes")
    return labels


def by_class_folders(entries: Sequence[Entry], config: SourceConfig) -> Listing:
    """Samples of entries that lie in `class/...` or `split/class/...`, below folders that all of them share."""
    labels = class_labels(config)
    # Bytes of a name that are no text are written as hexadecimal escapes.
    entries = [
        (path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), at) for path, at in entries
    ]
    depth = _shared_depth([path for path, _ in entries], set(labels) | set(SPLIT_NAMES))
    samples: list[Sample] = []
    rejections: list[Rejection] = []
    ignored: Counter[str] = Counter()
    for path, locator in entries:
        folders = path.split("/")[depth:-1]
        split = SPLIT_NAMES.get(folders[0].casefold()) if folders else None
        if folders and folders[0].casefold() in labels:
            split = None
        name = "/".join(folders[:2] if split else folders[:1])
        label = labels.get(name.rpartition("/")[2].casefold())
        if label is None:
            ignored[name or "."] += 1
        elif isinstance(locator, RejectedEntry):
            rejections.append(Rejection(path, label, "unreadable", locator.reason))
        else:
            samples.append(Sample(path, label, locator, split))
    return Listing(samples, rejections, dict(ignored))


def _shared_depth(paths: Iterable[str], meaningful: set[str]) -> int:
    """How many leading folders all `paths` share before one whose name means something."""
    shared: tuple[str, ...] | None = None
    for path in paths:
        folders = tuple(path.split("/")[:-1])
        if "__MACOSX" in folders:
            continue
        if shared is None:
            meaning = next((place for place, name in enumerate(folders) if name.casefold() in meaningful), len(folders))
            shared = folders[:meaning]
        agree = [left == right for left, right in zip(shared, folders, strict=False)]
        shared = shared[: agree.index(False) if False in agree else len(agree)]
    return len(shared or ())
