"""Tables of strangers, read in bounded memory: what is really there counts, never what a header says."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, AnyStr, Generic

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import DataError
from .locators import check_expansion

MAX_ROWS = 20_000_000
MAX_ROW_BYTES = 1_000_000
_BATCH_ROWS = 4096
_ROW_BYTES = 200  # about what a row costs once it is a sample, whatever it holds

Row = Mapping[str, object]
"""The values of one row, by column."""


class BoundedLines(Generic[AnyStr]):
    """The lines of a file. Raises DataError for a row, or a number of them, that no list of images has.

    A row in quotes may go over many lines: `row_bytes` counts until it is set to 0.
    """

    def __init__(self, path: Path, file: IO[AnyStr]) -> None:
        self._path = path
        self._file: IO[AnyStr] = file
        self.row_bytes = self.number = 0

    def __iter__(self) -> Iterator[AnyStr]:
        return self

    def __next__(self) -> AnyStr:
        line = self._file.readline(MAX_ROW_BYTES + 1)
        if not line:
            raise StopIteration
        self.row_bytes += len(line)
        self.number += 1
        if self.row_bytes > MAX_ROW_BYTES:
            raise _unacceptable(self._path, f"the row in line {self.number:,} holds more than a megabyte")
        if self.number > MAX_ROWS:
            raise _unacceptable(self._path, f"line {self.number:,} is not the last one")
        return line


def read_rows(path: Path, columns: Sequence[str]) -> tuple[list[str], Iterator[Row]]:
    """Return the names of a table's columns, and its rows with those of `columns` that it has.

    A CSV's cells are text between commas, semicolons or tabs; of columns of one name the first counts. A JSON line's
    names are those of the first line. Raises DataError, also while the rows are read.
    """
    if path.suffix == ".parquet":
        batches = _without_errors(path, _parquet_batches(path, columns))
        return list(next(batches).schema.names), (row for batch in batches for row in batch.to_pylist())
    rows = _without_errors(path, _json_rows(path) if path.suffix == ".jsonl" else _csv_rows(path, columns))
    return list(next(rows, {})), rows


def _csv_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the header as a row, then the rows."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline(MAX_ROW_BYTES)
        file.seek(0)
        lines = BoundedLines(path, file)
        cells = csv.reader(lines, delimiter=max(",;\t", key=header.count))  # as spreadsheets of some languages write it
        names = next(cells, [])
        yield dict.fromkeys(names)
        places = {name: names.index(name) for name in columns if name in names}
        for row in cells:
            lines.row_bytes = 0
            if any(row[len(names) :]):
                raise _unacceptable(path, f"line {lines.number:,} has {len(row)} cells, its header {len(names)}")
            if row:
                yield {name: row[place] if place < len(row) else "" for name, place in places.items()}


def _json_rows(path: Path) -> Iterator[Row]:
    """Yield the first row, whose names are the header, then all rows."""
    with path.open(encoding="utf-8-sig") as file:
        lines, header = BoundedLines(path, file), False
        for line in lines:
            lines.row_bytes = 0
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict):
                raise _unacceptable(path, f"line {lines.number:,} is no JSON object")
            if not header:
                header = True
                yield row
            yield row


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return those of `columns` that a file has, all by default, none of the others being read.

    Raises DataError, also for more than `check_expansion` accepts: a dictionary can give a million rows one value of a
    megabyte.
    """
    batches = _without_errors(path, _parquet_batches(path, columns))
    next(batches)
    return pa.Table.from_batches(batches).to_pandas()


def _parquet_batches(path: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Yield an empty batch of all columns, then one or more batches of rows."""
    with pq.ParquetFile(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
    wanted = [name for name in dict.fromkeys(schema.names) if columns is None or name in columns]
    if metadata.num_rows > MAX_ROWS:
        raise _unacceptable(path, f"holds {metadata.num_rows:,} rows")
    for field in schema:
        if field.name in wanted and (pa.types.is_nested(field.type) or pa.types.is_fixed_size_binary(field.type)):
            raise _unacceptable(path, f"column {field.name!r} holds {field.type}")
    yield schema.remove_metadata().empty_table()
    places = [place for place in range(metadata.num_columns) if metadata.schema.column(place).path in wanted]
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    check_expansion(path, sum(group.column(place).total_uncompressed_size for group in groups for place in places))
    expanded = 0
    with pq.ParquetFile(path, read_dictionary=wanted) as file:  # so that a value is there once
        for batch in file.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False):
            expanded += _ROW_BYTES * batch.num_rows + sum(_decoded_bytes(column) for column in batch.columns)
            check_expansion(path, expanded)
            yield pa.RecordBatch.from_arrays([_decoded(column) for column in batch.columns], batch.schema.names)


def _decoded_bytes(column: pa.Array) -> int:
    """Return the bytes of a column's values once each row has its own."""
    if not pa.types.is_dictionary(column.type) or pa.types.is_primitive(column.type.value_type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0)


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _without_errors(path: Path, rows: Iterator[Any]) -> Iterator[Any]:
    """Yield what `rows` does. Raises DataError for whatever a library says of the file."""
    try:
        yield from rows
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as a table: {' '.join(str(error).split())[:200]}") from None


def _unacceptable(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: {reason}; accepts {MAX_ROWS:,} rows of at most a megabyte each")
