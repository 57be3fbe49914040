"""The place of data: at a path, or fetched once, checked against its SHA-256 and kept; a broken download goes on."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from ...config import SourceConfig, project_path, shell_command
from ...errors import DataError
from ..store import disk_errors

if TYPE_CHECKING:
    import requests

_PIECE = 1 << 16
_SECONDS_WITHOUT_DATA = 30


def source_path(config: SourceConfig) -> Path:
    """Return where a source's data lie on disk, fetched first if they have a `url`. Raises DataError.

    A path is meant as the user wrote it: relative to the working directory.
    """
    if config.url is not None:
        if config.path is not None:
            raise DataError("dataset.path and dataset.url are both given; one of them must be null")
        if config.sha256 is None:
            raise DataError(f"dataset.url={config.url}: dataset.sha256 must say what the file's SHA-256 is")
        return fetch(config.url, config.sha256.casefold(), project_path(config.downloads), offline=config.offline)
    if config.path is None:
        raise DataError("dataset.path: no value given; name the folder or file that holds the data")
    # Not resolved: the user may know it by this name only, but made absolute, for other processes to open.
    found = Path(os.path.abspath(Path(os.path.expanduser(config.path))))
    try:
        mode = found.stat().st_mode
    except OSError as error:
        place = "" if config.path == str(found) else f" ({found})"
        raise DataError(f"dataset.path={config.path}: {error.strerror or error}{place}") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError(f"dataset.path={config.path}: neither a file nor a folder")
    return found


def fetch(url: str, sha256: str, folder: Path, *, offline: bool = False) -> Path:
    """Return the file behind `url`, from `folder` if it is there already. Raises DataError if it cannot be had as it
    should, or if it is not there and `offline` says that nothing is fetched.

    An interrupted download is resumed by the next call; a file with another SHA-256 is never put into place.
    """
    target = folder / f"{sha256[:12]}-{PurePosixPath(urlsplit(url).path).name or 'data'}"
    part = target.with_name(f"{target.name}.part")
    if offline and not target.exists():
        raise DataError(
            f"{url} is not fetched for a recorded run, or with dataset.offline=true, and {target} is not there; "
            f"if you trust it: {shell_command('prepare')} dataset=photos dataset.url={url} dataset.sha256={sha256}"
        )
    with disk_errors(folder, "dataset.downloads"):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.exists():  # it is only ever put there after its checksum was right
                _retrieve(url, sha256, target, part)
    return target


def _retrieve(url: str, sha256: str, target: Path, part: Path) -> None:
    import requests

    try:
        _complete(url, part)
    except requests.RequestException as error:
        raise DataError(f"{url} cannot be fetched: {_reason(error)}") from None
    with part.open("rb") as file:
        fetched = hashlib.file_digest(file, "sha256").hexdigest()
    if fetched != sha256:
        part.unlink()
        raise DataError(f"{url} is not the file that dataset.sha256={sha256} names; nothing of it was kept")
    os.replace(part, target)


def _complete(url: str, part: Path) -> None:
    """Append to `part` what is missing of `url`, with a bar on a terminal. Raises requests' errors, also if the server
    ends too early.
    """
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    columns = (TextColumn(url.rpartition("/")[2][:40]), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with requests.get(url, headers=headers, stream=True, timeout=_SECONDS_WITHOUT_DATA) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            return  # it is whole already; its checksum decides
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            have = 0
        total = have + int(answer.headers.get("Content-Length", 0))
        bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        with part.open("ab" if have else "wb") as file, bar:
            task = bar.add_task("", total=total or None, completed=have)
            for piece in answer.iter_content(_PIECE):
                file.write(piece)
                bar.advance(task, len(piece))
            if file.tell() < total:
                raise requests.ConnectionError(f"it broke off at {file.tell():,} of {total:,} bytes")


def _reason(error: requests.RequestException) -> str:
    """Return what happened, without the inner representation of connections; what was fetched so far is kept."""
    if error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    text = " ".join(str(error).split())
    if "timed out" in text:
        return f"no data for {_SECONDS_WITHOUT_DATA} s; run again to go on where it was"
    return f"{text.rpartition(': ')[2].strip(chr(39) + ')') or type(error).__name__}; run again to go on where it was"
