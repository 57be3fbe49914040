"""Sources as tests look at them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from src.data.prepared import PreparedDataset, prepare
from src.data.sources import Listing, list_samples
from src.system import return_freed_memory
from tests.image_files import config_of


def listed(root: Path | None, **values: object) -> Listing:
    return list_samples(config_of(root, Path("unused"), **values))


def found(listing: Listing) -> dict[str, tuple[int, str | None]]:
    return {sample.path: (sample.label, sample.shipped_split) for sample in listing.samples}


def prepared(root: Path | None, tmp_path: Path, **values: object) -> PreparedDataset:
    return prepare(config_of(root, tmp_path / "cache", **values))


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")


def memory(field: str) -> float:
    """Megabytes of this process: `VmRSS` now, `VmHWM` at its peak."""
    (kilobytes,) = re.findall(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(kilobytes) / 1024


@contextmanager
def measured_peak() -> Iterator[list[float]]:
    """Give a list to which the end adds the megabytes that were held at most inside, beyond what was held before."""
    return_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held from here on
    before, peak = memory("VmRSS"), list[float]()
    yield peak
    peak.append(memory("VmHWM") - before)


def write_shared_values(file: Path, rows: int, **values: str) -> None:
    """Write a Parquet file of equal rows, which holds each value once."""
    column = {
        name: pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))
        for name, value in values.items()
    }
    pq.write_table(pa.table(column), file, compression="zstd", store_schema=False)
    assert file.stat().st_size < 20_000
