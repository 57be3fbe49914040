"""Archives are read where they are: nothing is unpacked, so no path in them can lead anywhere."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from pathlib import Path

from src.data.locators import READ_ERRORS, RangeLocator, StreamLocator, ZipLocator
from src.data.sources.listing import Entry, Refused
from src.errors import DataError

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive that can be read."""
    return path.name.casefold().endswith(_SUFFIXES)


def archive_entries(path: Path) -> list[Entry]:
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
        for index, member in enumerate(archive.infolist()):
            if member.is_dir():
                continue
            reason = _refusal(member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                reason = "a symbolic link in an archive"
            locator = ZipLocator(str(path), index, f"{signature}#{index}")
            entries.append((member.filename, Refused(reason) if reason else locator))
    return entries


def _tar_entries(path: Path, signature: str) -> list[Entry]:
    entries: list[Entry] = []
    with tarfile.open(path, "r:*") as archive:
        plain = archive.fileobj is not None and not path.name.casefold().endswith((".gz", ".tgz"))
        for index, member in enumerate(archive):
            if member.isdir():
                continue
            reason = _refusal(member.name) if member.isreg() else "a link or device in an archive"
            name = member.name.removeprefix("./")
            if reason:
                entries.append((name, Refused(reason)))
            elif plain and not member.issparse():
                entries.append((name, RangeLocator(str(path), member.offset_data, member.size, f"{signature}#{index}")))
            else:
                entries.append((name, StreamLocator(str(path), index, f"{signature}#{index}")))
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every header otherwise
    return entries


def _refusal(name: str) -> str | None:
    folders = name.replace("\\", "/").split("/")
    leaves = ".." in folders or not folders[0] or ":" in folders[0]
    return "a path that leaves the archive" if leaves else None
