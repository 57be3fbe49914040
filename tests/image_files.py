"""Small image files for the data tests."""

from __future__ import annotations

import functools
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from src.config import DatasetConfig, SplitConfig


def image(seed: int, size: int = 40) -> Image.Image:
    """A smooth random image: each seed looks different, also to a perceptual hash."""
    random = np.random.default_rng(seed)
    colors = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colors).resize((size, size), Image.Resampling.BICUBIC)


@functools.cache
def png(seed: int, size: int = 40) -> bytes:
    """`image` as a PNG file."""
    buffer = BytesIO()
    image(seed, size).save(buffer, "PNG")
    return buffer.getvalue()


def class_folders(root: Path, count: int = 6, first: int = 0) -> Path:
    """`count` images in each of root/happy and root/sad, all different."""
    for label, name in enumerate(("sad", "happy")):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (folder / f"{number:03d}.png").write_bytes(png(first + 10_000 * label + number))
    return root


def config_of(root: Path | str | None, cache: Path, **values: object) -> DatasetConfig:
    """The config of a data set of tiny images, decoded in this process."""
    settings: dict[str, object] = {"name": "made", "source": "folder", "image_size": 16, "workers": 1}
    settings |= {"path": None if root is None else str(root), "cache": str(cache)}
    settings |= {"split": SplitConfig(train=0.5, validation=0.25, test=0.25)}
    return DatasetConfig(**(settings | values))  # type: ignore[arg-type]


def scene(seed: int, width: int = 480, height: int = 360) -> Image.Image:
    """Something with as much detail as a photo: shapes of all sizes and colors."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(random.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for size in np.linspace(160, 12, 90):
        x, y = random.uniform(-0.1, 1, 2) * (width, height)
        corners = [(x + dx, y + dy) for dx, dy in random.uniform(0, size, (4, 2))]
        color = tuple(random.integers(0, 256, 3).tolist())
        if random.random() < 0.5:
            draw.polygon(corners, fill=color)
        else:
            draw.ellipse([x, y, x + size * random.uniform(0.3, 1), y + size * random.uniform(0.3, 1)], fill=color)
    return image.filter(ImageFilter.GaussianBlur(1))
