"""Data that is fetched once, checked against its SHA-256 and kept in a cache."""

from __future__ import annotations

from pathlib import Path

from src.config import SourceConfig
from src.data.sources.listing import user_path


def source_path(config: SourceConfig) -> Path:
    """Where a source's data lie on disk. Raises DataError."""
    return user_path(config.path)
