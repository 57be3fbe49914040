"""Answers written for a person, for a script (JSON lines) and for a table (CSV, Parquet)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..errors import ConfigError, DataError
from .classifier import Answer

COLUMNS = ("path", "label", "probability", "verdict", "model")


class Write(Protocol):
    """Takes one answer after the other."""

    def __call__(self, answer: Answer) -> None: ...


def row(answer: Answer) -> dict[str, str | float | None]:
    """An answer by `COLUMNS`."""
    return {name: getattr(answer, name) for name in COLUMNS}


def as_text(answer: Answer, class_names: Sequence[str]) -> str:
    """One line for a person: the answer and how likely it is, or the verdict and why."""
    if answer.verdict == "ok" and answer.probability is None:
        return f"{answer.detail:<18}  {answer.path}"
    if answer.probability is None:
        return f"{answer.verdict:<18}  {answer.path}  ({answer.detail})"
    negative = answer.label == class_names[0]
    return f"{answer.label:<12}  {1 - answer.probability if negative else answer.probability:.2f}  {answer.path}"


def as_json(answer: Answer) -> str:
    """One JSON object on one line."""
    return json.dumps(row(answer), ensure_ascii=False)


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


@contextmanager
def _csv_writer(file: Path) -> Iterator[Write]:
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        yield lambda answer: writer.writerow(row(answer))


@contextmanager
def _parquet_writer(file: Path) -> Iterator[Write]:
    """The rows are kept until the end: a few dozen bytes for each picture."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(name, pa.float64() if name == "probability" else pa.string()) for name in COLUMNS])
    rows: list[dict[str, str | float | None]] = []
    yield lambda answer: rows.append(row(answer))
    parquet.write_table(pa.Table.from_pylist(rows, schema), file)
