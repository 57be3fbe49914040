"""Sort images into one folder for each answer: atomic for each file, never over another file, undone on request."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import hmac
import json
import os
import secrets
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..errors import DataError
from ..journal import append_entry, read_entries
from ..terminal import printable
from .bundle import REJECTED, UNSURE
from .classifier import Answer

Mode: TypeAlias = Literal["copy", "link", "move"]

LOG = "sorted.jsonl"
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY


class Sorter:
    """Puts images into `folder`/LABEL (or unsure, or rejected). An image that the log there names already is left
    alone, so that a run that was broken off can simply be started again.
    """

    def __init__(self, folder: Path, mode: Mode) -> None:
        """Raises DataError where the folder cannot be made."""
        self.folder = folder
        self.mode = mode
        self.placed = self.left_out = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: {error.strerror}") from None
        self.done = {entry["source"] for entry in _entries(folder)}

    def put(self, answer: Answer) -> Path | None:
        """Put one image in its place and log it; None where that was done before, or its file cannot be read. Raises
        DataError.
        """
        source = os.path.abspath(answer.path)
        if source in self.done:
            return None
        if not os.access(source, os.R_OK):  # such as a link that leads nowhere: answered already, as unreadable
            self.left_out += 1
            return None
        target_folder = self.folder / (answer.label or (UNSURE if answer.verdict == "unsure" else REJECTED))
        try:
            if self.mode == "move" and not os.access(os.path.dirname(source), os.W_OK | os.X_OK):
                raise DataError(f"{answer.path}: cannot be moved out of its folder, which may not be changed; copy it")
            target_folder.mkdir(exist_ok=True)
            if target_folder.is_symlink():
                raise DataError(f"{target_folder}: a link; images are sorted into folders only")
            target = self._place(Path(source), target_folder)
        except OSError as error:
            raise DataError(f"{answer.path}: cannot be sorted into {target_folder}: {error.strerror}") from None
        self.done.add(source)
        self.placed += 1
        return target

    @property
    def report(self) -> str:
        """What was done, and how it is taken back."""
        done = {"copy": "copied", "link": "linked", "move": "moved"}[self.mode]
        folder = printable(str(self.folder))
        stay = f"; {self.left_out} cannot be read and stay where they are" if self.left_out else ""
        return f"{self.placed} files {done} into folders in {folder}{stay}; --undo {folder} takes that back"

    def _place(self, source: Path, folder: Path) -> Path:
        """A finished copy or link appears under its name in one step, and goes again where it cannot be logged."""
        partial = folder / f".{uuid.uuid4().hex}.part"
        try:
            if self.mode == "link":
                partial.symlink_to(source)
            else:
                shutil.copy2(source, partial)
            for target in _names(folder / source.name):
                try:
                    os.link(partial, target, follow_symlinks=False)  # unlike a rename, never over another file
                except FileExistsError:
                    continue
                try:
                    self._log(source, target)
                except BaseException:
                    target.unlink()
                    raise
                if self.mode == "move":
                    source.unlink()
                return target
        finally:
            partial.unlink(missing_ok=True)
        raise AssertionError("names never end")

    def _log(self, source: Path, target: Path) -> None:
        entry = {"source": str(source), "target": str(target.relative_to(self.folder)), "mode": self.mode}
        append_entry(self.folder / LOG, entry | {"signature": _signature(_signing_key(), self.folder, entry)})


def undo(folder: Path) -> int:
    """Play the log of a sorted folder back: copies and links go, moved images return; the number undone.

    A moved image whose old place is taken meanwhile, or that is no longer where it was put, stays, and so does its
    line in the log. Raises DataError, before anything is undone, where there is no log or a line that this user's
    sorting did not write here; and afterwards, where something could not be undone.
    """
    if not os.path.lexists(folder / LOG):
        raise DataError(f"{folder}: no {LOG} there: nothing was sorted into it")
    entries = _entries(folder)
    kept, failed = [], None
    for entry in reversed(entries):
        try:
            undone = _undo_one(folder, entry)
        except OSError as error:
            undone, failed = False, failed or f"{entry['target']}: {error.strerror or error}"
        kept += [] if undone else [entry]
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink() and not any(child.iterdir()):
            child.rmdir()
    if kept:
        partial = folder / f".{uuid.uuid4().hex}.part"
        partial.write_text("".join(json.dumps(entry) + "\n" for entry in reversed(kept)), encoding="utf-8")
        os.replace(partial, folder / LOG)
    else:
        (folder / LOG).unlink()
    if failed:
        raise DataError(f"{folder}: {len(entries) - len(kept)} images undone, {len(kept)} not: {failed}")
    return len(entries) - len(kept)


def _undo_one(folder: Path, entry: dict[str, Any]) -> bool:
    target, source = folder / entry["target"], Path(entry["source"])
    if not os.path.lexists(target):
        return entry["mode"] != "move" or os.path.lexists(source)
    if entry["mode"] == "move" and os.path.lexists(source):
        if not (source.is_file() and filecmp.cmp(source, target, shallow=False)):
            return False
        target.unlink()  # the sorting ended between copying it and taking it away
    elif entry["mode"] == "move":
        source.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(target, source)
    else:
        target.unlink()
    return True


def _entries(folder: Path) -> list[dict[str, Any]]:
    """The log's lines. Raises DataError for one that leads out of the folder or is not signed by this user for it: a
    folder that someone else made would otherwise say what is deleted, and what is written where.
    """
    log = folder / LOG
    if not os.path.lexists(log):
        return []
    if not stat.S_ISREG(os.lstat(log).st_mode):
        raise DataError(f"{log}: no regular file; sorting and undoing write to no other")
    entries = read_entries(log)
    key = _signing_key() if entries else b""
    for number, entry in enumerate(entries, 1):
        if not hmac.compare_digest(str(entry.get("signature")).encode(), _signature(key, folder, entry).encode()):
            raise DataError(f"{log}: line {number} was not written by your sorting into this folder; nothing is done")
        if not _is_inside(folder, entry["target"]):
            raise DataError(f"{log}: line {number} leads out of the folder; nothing is done")
    return entries


def _is_inside(folder: Path, target: str) -> bool:
    """Whether `target` is a name inside a real folder that is directly below `folder`."""
    parts = Path(target).parts
    return len(parts) == 2 and not {"..", "/"} & set(parts) and not (folder / parts[0]).is_symlink()


def _signature(key: bytes, folder: Path, entry: Mapping[str, Any]) -> str:
    signed = [os.path.realpath(folder), *(entry.get(name) for name in ("source", "target", "mode"))]
    return hmac.new(key, json.dumps(signed).encode(), hashlib.sha256).hexdigest()


def _signing_key() -> bytes:
    """The secret of this user, made at the first call. Raises DataError where it cannot be kept."""
    file = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "happy-sad" / "sorting.key"
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f".{uuid.uuid4().hex}.part")
            with os.fdopen(os.open(partial, _CREATE, 0o600), "wb") as stream:
                stream.write(secrets.token_bytes(32))
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(partial, file)
            partial.unlink()
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: the key that signs what is sorted cannot be kept: {error.strerror}") from None


def _names(path: Path) -> Iterator[Path]:
    """`photo.jpg`, `photo-2.jpg`, `photo-3.jpg` and so on."""
    yield path
    number = 2
    while True:
        yield path.with_stem(f"{path.stem}-{number}")
        number += 1
