"""Class folders, with or without ready parts, on disk or in an archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from src.config import SourceConfig
from src.data.locators import FileLocator
from src.data.sources.archives import archive_entries, is_archive
from src.data.sources.download import source_path
from src.data.sources.listing import Entry, Listing, Refused, by_class_folders
from src.errors import DataError


def list_class_folders(config: SourceConfig) -> Listing:
    """Samples of a folder or archive of class folders. Raises DataError."""
    return by_class_folders(entries_of(source_path(config)), config)


def entries_of(root: Path) -> list[Entry]:
    """All files of a folder (in the order of their paths) or of an archive (in its order). Raises DataError."""
    if root.is_dir():
        found = sorted(folder_entries(root), key=lambda entry: entry[0])
    elif is_archive(root):
        found = archive_entries(root)
    else:
        raise DataError(f"{root} is neither a folder nor a .zip, .tar or .tar.gz archive")
    if not found:
        raise DataError(f"{root} is empty: folders with pictures of each class are needed")
    return found


def folder_entries(root: Path) -> Iterator[Entry]:
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


def _file(entry: os.DirEntry[str], inside: str) -> FileLocator | Refused:
    try:
        if entry.is_symlink() and os.path.commonpath([os.path.realpath(entry.path), inside]) != inside:
            return Refused("a symbolic link that leaves the data's folder")
        status = entry.stat()
    except OSError as error:
        return Refused(error.strerror or str(error))
    if entry.is_dir():
        return Refused("a symbolic link to a folder")
    return FileLocator(entry.path, status.st_size, status.st_mtime_ns)
