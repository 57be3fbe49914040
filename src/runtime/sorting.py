"""Sort pictures into one folder for each answer: atomic for each file, never over another file, undone on request."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..errors import DataError
from ..journal import append_entry, read_entries
from .classifier import Answer

Mode: TypeAlias = Literal["copy", "link", "move"]

LOG = "sorted.jsonl"
REJECTED = "rejected"


class Sorter:
    """Puts pictures into `folder`/LABEL (or rejected). A picture that the log there names already is left alone, so
    that a run that was broken off can simply be started again.
    """

    def __init__(self, folder: Path, mode: Mode) -> None:
        """Raises DataError where the folder cannot be made."""
        self.folder = folder
        self.mode = mode
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: {error.strerror}") from None
        self.done = {entry["source"] for entry in _entries(folder)}

    def put(self, answer: Answer) -> Path | None:
        """Put one picture in its place and log it; None where that was done before. Raises DataError."""
        source = os.path.abspath(answer.path)
        if source in self.done:
            return None
        target_folder = self.folder / (answer.label or REJECTED)
        target_folder.mkdir(exist_ok=True)
        try:
            target = self._place(Path(source), target_folder)
        except OSError as error:
            raise DataError(f"{answer.path}: cannot be sorted into {target_folder}: {error.strerror}") from None
        self.done.add(source)
        return target

    def _place(self, source: Path, folder: Path) -> Path:
        """A finished copy or link appears under its name in one step, after its line in the log."""
        partial = folder / f".{uuid.uuid4().hex}.part"
        if self.mode == "link":
            partial.symlink_to(source)
        else:
            shutil.copy2(source, partial)
        try:
            for target in _names(folder / source.name):
                try:
                    os.link(partial, target, follow_symlinks=False)  # unlike a rename, never over another file
                except FileExistsError:
                    continue
                self._log(source, target)
                if self.mode == "move":
                    source.unlink()
                return target
        finally:
            partial.unlink()
        raise AssertionError("names never end")

    def _log(self, source: Path, target: Path) -> None:
        entry = {"source": str(source), "target": str(target.relative_to(self.folder)), "mode": self.mode}
        append_entry(self.folder / LOG, entry)


def undo(folder: Path) -> int:
    """Play the log of a sorted folder back: copies and links go, moved pictures return; the number undone.

    A moved picture whose old place is taken meanwhile stays, and so does its line in the log. Raises DataError where
    there is no log.
    """
    if not (folder / LOG).exists():
        raise DataError(f"{folder}: no {LOG} there: nothing was sorted into it")
    entries = list(_entries(folder))
    kept = [entry for entry in reversed(entries) if not _undo_one(folder, entry)]
    for child in folder.iterdir():
        if child.is_dir() and not any(child.iterdir()):
            child.rmdir()
    if kept:
        (folder / LOG).write_text("".join(json.dumps(entry) + "\n" for entry in reversed(kept)), encoding="utf-8")
    else:
        (folder / LOG).unlink()
    return len(entries) - len(kept)


def _undo_one(folder: Path, entry: dict[str, Any]) -> bool:
    target, source = folder / entry["target"], Path(entry["source"])
    if not os.path.lexists(target):
        return True
    if entry["mode"] == "move" and not source.exists():
        source.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(target, source)
        return True
    if entry["mode"] == "move":
        return False
    target.unlink()
    return True


def _entries(folder: Path) -> Iterator[dict[str, Any]]:
    """The log's lines; a last one that a crash cut short is passed over."""
    for entry in read_entries(folder / LOG):
        if (folder / entry["target"]).resolve().is_relative_to(folder.resolve()) or entry["mode"] == "link":
            yield entry


def _names(path: Path) -> Iterator[Path]:
    """`photo.jpg`, `photo-2.jpg`, `photo-3.jpg` and so on."""
    yield path
    number = 2
    while True:
        yield path.with_stem(f"{path.stem}-{number}")
        number += 1
