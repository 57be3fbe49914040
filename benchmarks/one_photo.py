"""What one photo costs on one thread, part by part: `python -m benchmarks.one_photo FOLDER [BUNDLE]`.

Every photo of the folder, read and decoded, is answered alone, five times; printed are the median over photos of each
one's median, and the 95th percentile over photos.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from src.conversion.opening import open_model
from src.runtime.photos import Photo, PhotoPredictor
from src.runtime.predictor import list_images

ROUNDS = 5
PARTS = ("decoding", "looking for faces", "face model", "scene model", "the whole answer")


def milliseconds(work: Callable[[], object]) -> float:
    """The median of `ROUNDS` runs."""
    found = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - started))
    return float(np.median(found))


def parts_of(classifier: PhotoPredictor, data: bytes) -> list[float]:
    """Milliseconds of each of `PARTS` for one photo; nan for a face model that has no face to judge."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    photo: Photo = classifier.prepare_file(data)
    assert classifier.detect is not None  # noqa: S101 - for the type checker
    detect = classifier.detect
    return [
        milliseconds(lambda: Image.open(io.BytesIO(data)).convert("RGB")),
        milliseconds(lambda: detect.faces(image)),
        milliseconds(lambda: classifier.one_face.run(photo.faces)) if len(photo.faces) else float("nan"),
        milliseconds(lambda: classifier.run_scene(photo.scene[None])),
        milliseconds(lambda: classifier.evaluate([classifier.prepare_file(data)])),
    ]


def main(folder: str, bundle: str | None = None) -> None:
    """Measure and print."""
    cv2.setNumThreads(1)
    classifier = PhotoPredictor(open_model(bundle))
    photos = list_images([folder], recursive=True)
    found = np.array([parts_of(classifier, Path(photo.path).read_bytes()) for photo in photos])
    table = Table("part", "median, ms", "95th percentile, ms", title=f"{len(found)} photos, one thread")
    for name, column in zip(PARTS, found.T, strict=True):
        table.add_row(name, f"{np.nanmedian(column):.2f}", f"{np.nanpercentile(column, 95):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
