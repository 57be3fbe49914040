"""Sources as tests look at them."""

from __future__ import annotations

from pathlib import Path

from src.data.prepared import PreparedDataset, prepare
from src.data.sources import Listing, list_samples
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
