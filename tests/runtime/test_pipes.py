"""A FIFO where a file is expected has no writer: whoever simply opens it waits for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from src.config import SourceConfig
from src.data.samples import RejectedImageError
from src.data.sources.download import source_path
from src.errors import BundleError, DataError
from src.runtime.bundle import MANIFEST, open_bundle
from src.runtime.predictor import ImageFile

pytestmark = pytest.mark.usefixtures("alarm")


def test_an_image_that_became_a_pipe_gets_a_verdict(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "face.png")
    with pytest.raises(RejectedImageError, match="not a regular file"):
        ImageFile(str(tmp_path / "face.png")).read()


def test_a_bundle_whose_manifest_is_a_pipe_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MANIFEST)
    with pytest.raises(BundleError, match="not a regular file"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("name", ["list.csv", "faces.zip"])
def test_a_pipe_is_no_data(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="neither a file nor a folder"):
        source_path(SourceConfig("mine", "manifest", path=str(tmp_path / name)))
