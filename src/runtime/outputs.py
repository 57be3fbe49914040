"""Answers written for a person, for a script (JSON lines) and for a table (CSV, Parquet)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..errors import ConfigError, DataError
from ..terminal import printable
from .classifier import WHOLE_PICTURE, Answer
from .pictures import STDIN

COLUMNS = ("path", "label", "probability", "verdict", "model", "evidence")


class Write(Protocol):
    """Takes one answer after the other."""

    def __call__(self, answer: Answer) -> None: ...


def row(answer: Answer) -> dict[str, str | float | None]:
    """An answer by `COLUMNS`."""
    return {name: getattr(answer, name) for name in COLUMNS}


def as_text(answer: Answer, class_names: Sequence[str]) -> str:
    """One line for a person: the answer and how likely it is, or the verdict and why."""
    path, detail = printable(answer.path), printable(answer.detail)
    if answer.verdict == "ok" and answer.probability is None:
        return f"{detail:<18}  {path}"
    if answer.probability is None:
        return f"{answer.verdict:<18}  {path}  ({detail})"
    negative = answer.label == class_names[0]
    likely = 1 - answer.probability if negative else answer.probability
    evidence = "" if answer.evidence == WHOLE_PICTURE else f"  ({printable(answer.evidence)})"
    return f"{answer.label:<12}  {likely:.2f}  {path}{evidence}"


def as_json(answer: Answer) -> str:
    """One JSON object on one line, with escapes for all that steers a terminal."""
    text = json.dumps(row(answer), ensure_ascii=False)
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in text)


@contextmanager
def table_writer(file: Path) -> Iterator[Write]:
    """Write answers to a `.csv` or `.parquet` file as they come.

    Raises ConfigError for another ending, DataError for a file that cannot be made.
    """
    if file.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"{file}: accepts a name that ends in .csv or .parquet")
    try:
        file.open("ab").close()  # known before the pictures are evaluated, not after
    except OSError as error:
        raise DataError(f"{file}: cannot be written: {error.strerror}") from None
    with _csv_writer(file) if file.suffix == ".csv" else _parquet_writer(file) as write:
        yield write


def _no_formula(path: str) -> str:
    """The same path, that no spreadsheet takes for a formula."""
    return f"./{path}" if path.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) and path != STDIN else path


@contextmanager
def _csv_writer(file: Path) -> Iterator[Write]:
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        yield lambda answer: writer.writerow(row(answer) | {"path": _no_formula(answer.path)})


@contextmanager
def _parquet_writer(file: Path) -> Iterator[Write]:
    """The rows are kept until the end: a few dozen bytes for each picture."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(name, pa.float64() if name == "probability" else pa.string()) for name in COLUMNS])
    rows: list[dict[str, str | float | None]] = []
    # Parquet holds text, which a file's name need not be.
    yield lambda answer: rows.append(row(answer) | {"path": answer.path.encode(errors="backslashreplace").decode()})
    parquet.write_table(pa.Table.from_pylist(rows, schema), file)
