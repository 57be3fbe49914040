"""What is left of an image in its crops and mirror images: a few dozen small patches, each with its place and a code.

Keypoints and descriptors are SIFT's (Lowe 2004, "Distinctive image features from scale-invariant keypoints"), computed
upright by OpenCV, since copies on the web are cropped and mirrored but hardly ever turned. A descriptor is kept as the
signs of its projections on 128 fixed random directions (Charikar 2002, "Similarity estimation techniques from rounding
algorithms"). The second half of the directions are the mirror images of the first, so that swapping the two halves of
a code gives the code of the mirrored patch.

An image too small for keypoints is described by its thumbnail.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FRAME = 192
"""The longer side in pixels at which keypoints are looked for; their places and sizes are in its pixels."""
SMALL_SIDE = 96
"""Images whose longer side has fewer pixels are described by a thumbnail."""
THUMBNAIL = 16
KEYPOINTS = 128
"""The most that are kept of one image."""
_CONTRAST = 0.02
_STEPS_PER_OCTAVE = 32
_RECORD = np.dtype([("x", "u1"), ("y", "u1"), ("size", "u1"), ("code", "<u8", 2)])
BYTES_PER_KEYPOINT = _RECORD.itemsize


@dataclass(frozen=True)
class Keypoints:
    """The patches of one image, the most distinct first.

    `places` (n, 2) x and y and `sizes` (n,) are float32 in pixels of a frame of `width` by `height`; `codes` (n, 2)
    are uint64.
    """

    width: int
    height: int
    places: NDArray[np.float32]
    sizes: NDArray[np.float32]
    codes: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.sizes)

    def mirrored(self) -> Keypoints:
        """What the left-to-right mirror image of the image has."""
        places = self.places.copy()
        places[:, 0] = self.width - 1 - places[:, 0]
        return Keypoints(self.width, self.height, places, self.sizes, self.codes[:, ::-1])


def opencv() -> Any:
    """OpenCV's module, or None where it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def keep_to_one_core() -> None:
    """Forbid OpenCV threads of its own, for processes that share the cores."""
    if (cv2 := opencv()) is not None:
        cv2.setNumThreads(1)


def features(image: NDArray[np.uint8], width: int, height: int) -> dict[str, bytes]:
    """`keypoints` and `thumbnail` of an image (size, size, 3) that was stretched from `width` by `height` pixels.

    One of the two is empty; both are where OpenCV is missing.
    """
    if opencv() is None:
        return {"keypoints": b"", "thumbnail": b""}
    gray = Image.fromarray(image).convert("L")
    if max(width, height) < SMALL_SIDE:
        small = gray.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
        return {"keypoints": b"", "thumbnail": small.tobytes()}
    scale = FRAME / max(width, height)
    shape = max(8, round(width * scale)), max(8, round(height * scale))
    return {"keypoints": _packed(np.asarray(gray.resize(shape, Image.Resampling.BOX))), "thumbnail": b""}


def unpack_keypoints(data: bytes) -> Keypoints:
    """The keypoints that `features` packed: two bytes of width and height, then 19 bytes each."""
    width, height = (data[0], data[1]) if data else (0, 0)
    records = np.frombuffer(data, dtype=_RECORD, offset=min(2, len(data)))
    places = np.stack([records["x"], records["y"]], axis=1).astype(np.float32) * np.float32(FRAME / 256)
    sizes = np.exp2(records["size"].astype(np.float32) / _STEPS_PER_OCTAVE)
    return Keypoints(width, height, places, sizes, records["code"].astype(np.uint64))


def strongest(data: bytes, count: int) -> bytes:
    """Packed keypoints without all but the `count` most distinct ones."""
    return data[: 2 + count * _RECORD.itemsize]


def _packed(gray: NDArray[np.uint8]) -> bytes:
    height, width = gray.shape
    keypoints, places, sizes = _detected(gray)
    records = np.zeros(len(keypoints), dtype=_RECORD)
    if keypoints:
        _, descriptors = _sift().compute(gray, keypoints)
        records["x"], records["y"] = np.clip(np.rint(places.T * (256 / FRAME)), 0, 255)
        records["size"] = np.clip(np.rint(np.log2(sizes) * _STEPS_PER_OCTAVE), 0, 255)
        records["code"] = _codes(descriptors)
    return bytes((width, height)) + records.tobytes()


def _detected(gray: NDArray[np.uint8]) -> tuple[list[Any], NDArray[np.float64], NDArray[np.float64]]:
    """The most distinct upright keypoints with their places and sizes; SIFT gives one again for each orientation."""
    found = _sift().detect(gray, None)
    values = np.array([(*point.pt, point.size, point.response) for point in found]).reshape(-1, 4)
    _, first = np.unique(values[:, :3], axis=0, return_index=True)
    x, y, _, response = values[first].T
    chosen = first[np.lexsort((y, x, -response))][:KEYPOINTS]
    keypoints = [found[row] for row in chosen]
    for keypoint in keypoints:
        keypoint.angle = 0.0
    return keypoints, values[chosen, :2], values[chosen, 2]


def _codes(descriptors: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Codes (n, 2) of SIFT descriptors (n, 128); the square root makes small gradients count (Arandjelović 2012)."""
    roots = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
    signs = np.einsum("nd,kd->nk", roots, _directions()) > 0
    return np.packbits(signs, axis=1).view(">u8").astype(np.uint64)


@cache
def _sift() -> Any:
    return opencv().SIFT_create(contrastThreshold=_CONTRAST)


@cache
def _directions() -> NDArray[np.float32]:
    """128 directions in the space of descriptors: 4 x 4 cells of 8 gradient angles in steps of 45 degrees.

    They are at right angles to all descriptors that are the same when mirrored both ways, about which real ones lie, so
    that each bit of a code is set about half of the time.
    """
    random = np.random.default_rng(0).standard_normal((64, 4, 4, 8))
    turned = random + _left_to_right(random)
    random -= (turned + _top_to_bottom(turned)) / 4
    return np.concatenate([random, _left_to_right(random)]).reshape(128, 128).astype(np.float32)


def _left_to_right(cells: NDArray) -> NDArray:
    return cells[:, :, ::-1, (4 - np.arange(8)) % 8]


def _top_to_bottom(cells: NDArray) -> NDArray:
    return cells[:, ::-1, :, -np.arange(8) % 8]
