"""Answers written for a person, for a script (JSON lines) and for a table (CSV, Parquet)."""

from __future__ import annotations

import csv
import filecmp
import itertools
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..errors import ConfigError, DataError
from ..system import printable
from .bundle import REJECTED, UNSURE
from .predictor import STDIN, WHOLE_IMAGE, Answer, answer_fields


class Write(Protocol):
    """Takes one answer after the other."""

    def __call__(self, answer: Answer) -> None: ...


def percent(probability: float) -> str:
    """A probability as whole percent, never as certain: `>99%` and `<1%` at the ends."""
    return ">99%" if probability >= 0.995 else "<1%" if probability < 0.005 else f"{probability:.0%}"


def hundredths(probability: float) -> str:
    """A probability with two decimals, never as certain: `>0.99` and `<0.01` at the ends."""
    return ">0.99" if probability >= 0.995 else "<0.01" if probability < 0.005 else f"{probability:.2f}"


def as_text(answer: Answer, class_names: Sequence[str]) -> str:
    """One line for a person: the label, P(class 1) and the label's own probability; or the verdict and why."""
    positive = "" if answer.probability is None else f"p_{class_names[1]} {hundredths(answer.probability)}"
    confidence = "" if answer.confidence is None else f"confidence {hundredths(answer.confidence)}"
    said = f"{answer.label or answer.verdict:<10}  {positive:<{len(class_names[1]) + 8}}  {confidence:<16}"
    known = answer.detail if answer.probability is None else answer.evidence
    rests_on = "" if known in ("", WHOLE_IMAGE) else f"  ({printable(known)})"
    return f"{said}  {printable(answer.path)}{rests_on}"


def as_json(answer: Answer, class_names: Sequence[str]) -> str:
    """An answer as JSON."""
    return json_line(answer.fields(class_names))


def json_line(row: Mapping[str, object]) -> str:
    """One JSON object on one line, with escapes for all that steers a terminal."""
    text = json.dumps(row, ensure_ascii=False)
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in text)


@contextmanager
def table_writer(file: Path, class_names: Sequence[str]) -> Iterator[Write]:
    """Write answers to a `.csv` or `.parquet` file as they come, a column for each of their fields.

    Raises ConfigError for another ending, DataError for a file that cannot be made.
    """
    if file.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"{file}: accepts a name that ends in .csv or .parquet")
    try:
        file.open("ab").close()  # known before the images are evaluated, not after
    except OSError as error:
        raise DataError(f"{file}: cannot be written: {error.strerror}") from None
    with (_csv_writer if file.suffix == ".csv" else _parquet_writer)(file, class_names) as write:
        yield write


def _no_formula(path: str) -> str:
    """The same path, that no spreadsheet takes for a formula."""
    return f"./{path}" if path.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) and path != STDIN else path


@contextmanager
def csv_rows(file: Path, names: Sequence[str]) -> Iterator[Callable[[Mapping[str, object]], None]]:
    """Write rows with these columns to a CSV file as they come. Raises DataError for a file that cannot be written."""
    with _disk_errors(file):
        stream = file.open("w", newline="", encoding="utf-8", errors="surrogateescape")
    writer = csv.DictWriter(stream, names)

    def write(row: Mapping[str, object]) -> None:
        with _disk_errors(file):
            writer.writerow(row)

    try:
        writer.writeheader()
        yield write
    finally:
        with _disk_errors(file):
            stream.close()


@contextmanager
def _csv_writer(file: Path, class_names: Sequence[str]) -> Iterator[Write]:
    with csv_rows(file, answer_fields(class_names)) as write:
        yield lambda answer: write(answer.fields(class_names) | {"path": _no_formula(answer.path)})


@contextmanager
def _disk_errors(file: Path) -> Iterator[None]:
    """DataError where a disk is full, or gone."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise DataError(f"{file}: cannot be written: {reason}") from None


@contextmanager
def _parquet_writer(file: Path, class_names: Sequence[str]) -> Iterator[Write]:
    """The rows are kept until the end: a few dozen bytes for each image."""
    import pyarrow as pa
    from pyarrow import parquet

    numbers = (f"p_{class_names[1]}", "confidence")
    kinds = [(name, pa.float64() if name in numbers else pa.string()) for name in answer_fields(class_names)]
    rows: list[dict[str, str | float | None]] = []
    # Parquet holds text, which a file's name need not be.
    yield lambda answer: rows.append(
        answer.fields(class_names) | {"path": answer.path.encode(errors="backslashreplace").decode()}
    )
    with _disk_errors(file):
        parquet.write_table(pa.Table.from_pylist(rows, pa.schema(kinds)), file)


class Sorter:
    """Copies images, or links to them, into `folder`/LABEL (or unsure, or rejected), never over another file.

    An image that is there already is left alone, so that a sorting that was broken off can be started again.
    """

    def __init__(self, folder: Path, *, link: bool) -> None:
        """Make the folder. Raises DataError where it cannot be made."""
        self.folder, self.link = folder, link
        self.placed = self.unreadable = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: {error.strerror}") from None

    def put(self, answer: Answer) -> None:
        """Put one image in its place. Raises DataError."""
        source = Path(os.path.abspath(answer.path))
        if not os.access(source, os.R_OK):  # such as a link that leads nowhere: answered already, as unreadable
            self.unreadable += 1
            return
        target_folder = self.folder / (answer.label or (UNSURE if answer.verdict == "unsure" else REJECTED))
        try:
            target_folder.mkdir(exist_ok=True)
            if target_folder.is_symlink():
                raise DataError(f"{target_folder}: a link; images are sorted into folders only")
            self.placed += self._place(source, target_folder)
        except OSError as error:
            raise DataError(f"{answer.path}: cannot be sorted into {target_folder}: {error.strerror}") from None

    def _place(self, source: Path, folder: Path) -> bool:
        """Make a finished copy or link appear in one step under a free name; False where it is there already."""
        partial = folder / f".{uuid.uuid4().hex}.part"
        if self.link:
            partial.symlink_to(source)
        else:
            shutil.copy2(source, partial)
        try:
            for number in itertools.count(1):  # photo.jpg, photo-2.jpg and so on
                target = folder / source.name if number == 1 else folder / f"{source.stem}-{number}{source.suffix}"
                try:
                    os.link(partial, target, follow_symlinks=False)  # unlike a rename, never over another file
                    return True
                except FileExistsError:
                    if self._is_placed(source, target):
                        return False
        finally:
            partial.unlink(missing_ok=True)
        raise AssertionError("names never end")

    def _is_placed(self, source: Path, target: Path) -> bool:
        if target.is_symlink():
            return self.link and target.readlink() == source
        return not self.link and target.is_file() and filecmp.cmp(source, target, shallow=False)

    @property
    def report(self) -> str:
        """One line: how many files went where."""
        stay = f"; unreadable, left out: {self.unreadable}" if self.unreadable else ""
        done = "linked" if self.link else "copied"
        return f"files {done} into folders in {printable(str(self.folder))}: {self.placed}{stay}"
