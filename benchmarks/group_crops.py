"""Find crops and mirror images among many images: `python -m benchmarks.group_crops [COUNT ...]`.

Scenes of random shapes, a tenth of which are there again, as a crop or mirrored. Prints for each count the seconds of
processor time for describing the images (which preparation shares among its processes), for finding candidates and
for the geometric check, each of which runs once; how many copies were found, and pairs that are none. A last table
prints the same for small images, which are compared all with all, and which crops are found by the area they keep.
"""

from __future__ import annotations

import sys
import time

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from src.data.crops import THUMBNAIL, candidates, crop_pairs, features, same_photo, unpack_keypoints
from src.data.duplicates import small_pairs

COUNTS = (1_000, 2_000, 4_000)
SIDE = 256


def main(counts: tuple[int, ...] = COUNTS) -> None:
    """Print the tables."""
    cv2.setNumThreads(1)
    console = Console()
    columns = ("images", "describe s", "candidates", "search s", "check s", "copies found", "false pairs")
    table = Table(*columns, title="images with keypoints")
    for count in counts:
        table.add_row(*_measured(count))
    console.print(table)
    table = Table("images", "seconds", "copies found", "false pairs", title="images under 96 pixels")
    for count in counts:
        table.add_row(*_measured_small(count))
    console.print(table)
    table = Table("area kept", "crops found", title="100 crops of each size")
    for area in (0.9, 0.6, 0.4, 0.3, 0.2, 0.1):
        table.add_row(f"{area:.0%}", f"{_found_of_area(area, 100)}")
    console.print(table)


def _scene(seed: int) -> NDArray[np.uint8]:
    """Shapes of all sizes and colors at random places, (SIDE, SIDE, 3)."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (SIDE, SIDE), tuple(random.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for size in np.linspace(100, 8, 70):
        corners = random.uniform(-0.1, 1, 2) * SIDE + random.uniform(0, size, (4, 2))
        draw.polygon([tuple(corner) for corner in corners.tolist()], fill=tuple(random.integers(0, 256, 3).tolist()))
    return np.asarray(image)


def _cropped(image: NDArray[np.uint8], area: float, random: np.random.Generator) -> NDArray[np.uint8]:
    side = int(SIDE * area**0.5)
    top, left = random.integers(0, SIDE - side + 1, 2)
    crop = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(crop.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _with_copies(count: int) -> tuple[list[dict[str, bytes]], float]:
    """Described images of which the last tenth are copies of the first ones, and the seconds that took."""
    random, seconds, described = np.random.default_rng(0), 0.0, []
    copies = count // 10
    for row in range(count):
        image = _scene(row % (count - copies))
        if row >= count - copies:
            image = _cropped(image, 0.5, random) if row % 2 else image[:, ::-1]
        started = time.process_time()
        described.append(features(np.ascontiguousarray(image), SIDE, SIDE))
        seconds += time.process_time() - started
    return described, seconds


def _measured(count: int) -> tuple[str, ...]:
    described, seconds = _with_copies(count)
    started = time.process_time()
    images = [unpack_keypoints(data["keypoints"]) for data in described]
    left, right, mirrored = candidates(images)
    searched = time.process_time()
    accepted = np.array(
        [
            same_photo(images[i].mirrored() if mirror else images[i], images[j])
            for i, j, mirror in zip(left, right, mirrored, strict=True)
        ],
        dtype=bool,
    )
    checked = time.process_time()
    true = right[accepted] - left[accepted] == count - count // 10
    times = (f"{searched - started:.1f}", f"{checked - searched:.1f}")
    found = f"{true.sum() / (count // 10):.1%}"
    return f"{count:,}", f"{seconds:.1f}", f"{len(left):,}", *times, found, f"{(~true).sum()}"


def _measured_small(count: int) -> tuple[str, ...]:
    random = np.random.default_rng(0)
    grays = random.integers(0, 256, (count, 6, 6), dtype=np.uint8)
    copies = count // 10
    grays[-copies:] = grays[:copies, :, ::-1]
    shape = (THUMBNAIL, THUMBNAIL)
    thumbnails = [Image.fromarray(gray).resize(shape, Image.Resampling.BICUBIC).tobytes() for gray in grays]
    started = time.process_time()
    left, right = small_pairs(thumbnails)
    seconds = time.process_time() - started
    true = right - left == count - copies
    return f"{count:,}", f"{seconds:.1f}", f"{true.sum() / copies:.1%}", f"{(~true).sum()}"


def _found_of_area(area: float, count: int) -> int:
    random = np.random.default_rng(0)
    images = [_scene(seed) for seed in range(count)]
    described = [features(p, SIDE, SIDE) for p in (*images, *(_cropped(p, area, random) for p in images))]
    left, right = crop_pairs([data["keypoints"] for data in described])
    return int((right - left == count).sum())


if __name__ == "__main__":
    main(tuple(int(argument) for argument in sys.argv[1:]) or COUNTS)
