"""Class folders, with or without ready splits, on disk or in an archive."""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ...config import SourceConfig
from ...errors import DataError
from ..locators import READ_ERRORS, FileLocator, RangeLocator, StreamLocator, ZipLocator
from .download import source_path
from .listing import Entry, Listing, RejectedEntry, by_class_folders, register_source

_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_MAX_EXPANSION, _MIN_EXPANDED = 200, 1_000_000_000  # no images are packed to a 200th; below a gigabyte none is a bomb


def _archive_entries(path: Path) -> list[Entry]:
    """The files in an archive, in its own order. Raises DataError if it cannot be read."""
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
        expanded = sum(member.file_size for member in members)
        if expanded > max(_MIN_EXPANDED, _MAX_EXPANSION * path.stat().st_size):
            raise DataError(
                f"{path}: {expanded / 1e9:,.1f} GB are packed into {path.stat().st_size / 1e6:,.1f} MB, which no "
                "images are; unpack it yourself if you trust it"
            )
        overlapping = _overlapping(members)
        for index, member in enumerate(members):
            if member.filename.endswith("/"):  # its own `is_dir` fails for a member without a name
                continue
            reason = _rejection_reason(member.filename)
            if index in overlapping:
                reason = "its bytes are those of another file of the archive too"
            if stat.S_ISLNK(member.external_attr >> 16):
                reason = "a symbolic link in an archive"
            locator = ZipLocator(str(path), index, f"{signature}#{index}")
            entries.append((member.filename, RejectedEntry(reason) if reason else locator))
    return entries


def _overlapping(members: list[zipfile.ZipInfo]) -> set[int]:
    """Which members share bytes with one before them in the file: a few kB can be a thousand files so."""
    found, end = set(), 0
    for index in sorted(range(len(members)), key=lambda index: members[index].header_offset):
        member = members[index]
        if member.header_offset < end:
            found.add(index)
        end = max(end, member.header_offset + member.compress_size)
    return found


def _open_tar(path: Path) -> tuple[tarfile.TarFile, bool]:
    """The archive, and whether its members lie in the file as they are, whatever its name says."""
    try:
        return tarfile.open(path, "r:"), True
    except tarfile.ReadError:
        return tarfile.open(path, "r:*"), False


def _tar_entries(path: Path, signature: str) -> list[Entry]:
    entries: list[Entry] = []
    archive, plain = _open_tar(path)
    with archive:
        for index, member in enumerate(archive):
            if member.isdir():
                continue
            reason = _rejection_reason(member.name) if member.isreg() else "a link or device in an archive"
            name = member.name.removeprefix("./")
            if reason:
                entries.append((name, RejectedEntry(reason)))
            elif plain and not member.issparse():
                entries.append((name, RangeLocator(str(path), member.offset_data, member.size, f"{signature}#{index}")))
            else:
                entries.append((name, StreamLocator(str(path), index, f"{signature}#{index}")))
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every header otherwise
    return entries


def _rejection_reason(name: str) -> str | None:
    folders = name.replace("\\", "/").split("/")
    leaves = ".." in folders or not folders[0] or ":" in folders[0]
    return "a path that leaves the archive" if leaves else None


@register_source("folder", changes_with="file")
def list_class_folders(config: SourceConfig) -> Listing:
    """Samples of a folder or archive of class folders. Raises DataError."""
    return by_class_folders(entries_of(source_path(config)), config)


def entries_of(root: Path) -> list[Entry]:
    """All files of a folder (in the order of their paths) or of an archive (in its order). Raises DataError."""
    if root.is_dir():
        found = sorted(_folder_entries(root), key=lambda entry: entry[0])
    elif root.name.casefold().endswith(_ARCHIVE_SUFFIXES):
        found = _archive_entries(root)
    else:
        raise DataError(f"{root} is neither a folder nor a .zip, .tar or .tar.gz archive")
    if not found:
        raise DataError(f"{root} is empty: folders with images of each class are needed")
    return found


def _folder_entries(root: Path) -> Iterator[Entry]:
    """Every file below `root`. Symbolic links are followed to files inside the root only; links to folders never."""
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
