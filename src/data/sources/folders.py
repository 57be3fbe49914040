"""Class folders, with or without ready splits, on disk or in an archive; and what every source gives: a `Listing`."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from ...config import SourceConfig
from ...errors import DataError
from ..locators import (
    READ_ERRORS,
    FileLocator,
    RangeLocator,
    StreamLocator,
    ZipLocator,
    check_expansion,
    is_hidden,
    is_packed_tar,
    tar_members,
)
from ..samples import Locator, Rejection, Sample, Split
from .download import source_path

_SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "publictest"), "validation"),
    **dict.fromkeys(("test", "testing", "privatetest"), "test"),
}

HIDDEN = "hidden and system files"
NESTED = "archives inside, which are not unpacked"

COMBINED = "combined"
"""`dataset.source` for several sources together."""

_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")

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


def combined(listings: Iterable[Listing]) -> Listing:
    """Return the entries of several listings as one."""
    samples, rejections, ignored = list[Sample](), list[Rejection](), Counter[str]()
    for listing in listings:
        samples += listing.samples
        rejections += listing.rejections
        ignored.update(listing.ignored)
    return Listing(samples, rejections, dict(ignored))


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


@cache
def split_of(name: str) -> Split | None:
    """Return the split that a name stands for, in any capitals: `train`, `Testing`, `val_set`, `test-images`."""
    return _SPLIT_WORDS.get(re.sub(r"[\W_]*(?:set|data|images|split)?[\W_]*$", "", name.casefold()))


@cache
def class_key(name: str) -> str:
    """Return the form in which names of classes are compared: any capitals, composed and decomposed letters alike."""
    return unicodedata.normalize("NFC", name).casefold()


def class_labels(config: SourceConfig) -> dict[str, int]:
    """Map the class names' keys to labels; the auxiliary classes are counted down from -1.

    Raises DataError if two classes have one name.
    """
    names = [config.negative, config.positive, *config.auxiliary]
    labels = {class_key(name): label for name, label in zip(names, (0, 1, *range(-1, -len(names), -1)), strict=False)}
    if class_key(config.positive) == class_key(config.negative):
        raise DataError(f"dataset.positive and dataset.negative are both {config.positive!r}")
    if len(labels) < len(names):
        raise DataError(f"dataset.auxiliary={config.auxiliary}: names a class twice, or one of the two classes")
    return labels


@register_source("folder", changes_with="file")
def list_class_folders(config: SourceConfig) -> Listing:
    """Return samples of a folder or archive of class folders. Raises DataError."""
    return by_class_folders(entries_of(source_path(config)), config)


def entries_of(root: Path) -> list[Entry]:
    """Return all files of a folder (in the order of their paths) or of an archive (in its order). Raises DataError."""
    if root.is_dir():
        found = sorted(_folder_entries(root), key=lambda entry: entry[0])
    elif root.name.casefold().endswith(_ARCHIVE_SUFFIXES):
        found = _archive_entries(root)
    else:
        raise DataError(f"{root} is neither a folder nor a .zip, .tar or .tar.gz archive; unpack it if it is another")
    if not found:
        raise DataError(f"{root} is empty: folders with images of each class are needed")
    return found


def by_class_folders(entries: Sequence[Entry], config: SourceConfig) -> Listing:
    """Return samples of entries that lie in `class/...` or `split/class/...`, below folders that all of them share."""
    labels = class_labels(config)
    # Bytes of a name that are no text are written as hexadecimal escapes.
    entries = [
        (path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), at) for path, at in entries
    ]
    visible = [(path, at) for path, at in entries if not any(map(is_hidden, path.split("/")))]
    depth = _shared_depth([path for path, _ in visible], labels)
    samples: list[Sample] = []
    rejections: list[Rejection] = []
    ignored: Counter[str] = Counter({HIDDEN: len(entries) - len(visible)} if len(visible) < len(entries) else {})
    for path, locator in visible:
        folders = path.split("/")[depth:-1]
        split = None if not folders or class_key(folders[0]) in labels else split_of(folders[0])
        while split and len(folders) > 1 and split_of(folders[1]) == split:  # training_set/training_set/cats
            del folders[1]
        name = "/".join(folders[:2] if split else folders[:1])
        label = labels.get(class_key(name.rpartition("/")[2]))
        if path.casefold().endswith((*_ARCHIVE_SUFFIXES, ".rar", ".7z")):
            ignored[NESTED] += 1
        elif label is None:
            ignored[name or "."] += 1
        elif isinstance(locator, RejectedEntry):
            rejections.append(Rejection(path, label, "unreadable", locator.reason))
        else:
            samples.append(Sample(path, label, locator, split))
    return Listing(samples, rejections, dict(ignored))


def _shared_depth(paths: Iterable[str], labels: Mapping[str, int]) -> int:
    """Return how many leading folders all `paths` share before one named like a class or a split."""
    shared: tuple[str, ...] | None = None
    for path in paths:
        folders = tuple(path.split("/")[:-1])
        if shared is None:
            meaning = next(
                (place for place, name in enumerate(folders) if class_key(name) in labels or split_of(name)),
                len(folders),
            )
            shared = folders[:meaning]
        agree = [left == right for left, right in zip(shared, folders, strict=False)]
        shared = shared[: agree.index(False) if False in agree else len(agree)]
    return len(shared or ())


def _folder_entries(root: Path) -> Iterator[Entry]:
    """Yield every file below `root`. Symbolic links are followed to files inside the root only."""
    inside = os.path.realpath(root)
    pending = [str(root)]
    while pending:
        folder = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise DataError(f"{folder}: {error.strerror or error}") from None
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            else:
                yield os.path.relpath(entry.path, root).replace(os.sep, "/"), _file(entry, inside)


def _file(entry: os.DirEntry[str], inside: str) -> FileLocator | RejectedEntry:
    try:
        if entry.is_symlink() and os.path.commonpath([os.path.realpath(entry.path), inside]) != inside:
            return RejectedEntry("a symbolic link that leaves the data's folder")
        status = entry.stat()
    except OSError as error:
        return RejectedEntry(error.strerror or str(error))
    if entry.is_dir():
        return RejectedEntry("a symbolic link to a folder")
    return FileLocator(entry.path, status.st_size, status.st_mtime_ns)


def _archive_entries(path: Path) -> list[Entry]:
    """Return the files in an archive, in its own order. Raises DataError if it cannot be read."""
    try:
        status = path.stat()
        signature = f"{status.st_size}@{status.st_mtime_ns}"
        if path.name.casefold().endswith(".zip"):
            return _zip_entries(path, signature)
        return _tar_entries(path, signature)
    except READ_ERRORS as error:
        raise DataError(f"{path} cannot be read as an archive: {' '.join(str(error).split())}") from None


def _zip_entries(path: Path, signature: str) -> list[Entry]:
    entries: list[Entry] = []
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_expansion(path, sum(member.file_size for member in members))
        overlapping = _overlapping(members)
        for index, member in enumerate(members):
            if not member.filename.endswith("/"):  # its own `is_dir` fails for a member without a name
                reason = _zip_rejection(member, index in overlapping)
                locator = ZipLocator(str(path), index, f"{signature}#{index}")
                entries.append((member.filename, RejectedEntry(reason) if reason else locator))
    return entries


def _zip_rejection(member: zipfile.ZipInfo, overlapping: bool) -> str | None:
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a symbolic link in an archive"
    if overlapping:
        return "its bytes are those of another file of the archive too"
    if member.flag_bits & 1:
        return "encrypted: unpack the archive with its password, and name the folder"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack gigabytes at once
        return "packed in another way than deflate: unpack the archive, and name the folder"
    return _path_rejection(member.filename)


def _overlapping(members: list[zipfile.ZipInfo]) -> set[int]:
    """Return the members that share bytes with an earlier one: a few kB can be a thousand files so."""
    found, end = set(), 0
    for index in sorted(range(len(members)), key=lambda index: members[index].header_offset):
        member = members[index]
        if member.header_offset < end:
            found.add(index)
        end = max(end, member.header_offset + member.compress_size)
    return found


def _tar_entries(path: Path, signature: str) -> list[Entry]:
    entries: list[Entry] = []
    packed = is_packed_tar(str(path))
    for index, (_, member) in enumerate(tar_members(str(path))):
        if member.isdir():
            continue
        plain_file = member.isreg() and not member.issparse()
        reason = _path_rejection(member.name) if plain_file else "a link, device or sparse file in an archive"
        locator: Locator
        if packed:
            locator = StreamLocator(str(path), index, f"{signature}#{index}")
        else:
            locator = RangeLocator(str(path), member.offset_data, member.size, f"{signature}#{index}")
        entries.append((member.name.removeprefix("./"), RejectedEntry(reason) if reason else locator))
    return entries


def _path_rejection(name: str) -> str | None:
    folders = name.replace("\\", "/").split("/")
    leaves = ".." in folders or not folders[0] or ":" in folders[0]
    return "a path that leaves the archive" if leaves else None
