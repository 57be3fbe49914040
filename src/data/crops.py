"""Pairs of images that show one photo: as a crop of it, mirrored, in a border, with a watermark or in other colors.

Keypoints and descriptors are SIFT's (Lowe 2004, "Distinctive image features from scale-invariant keypoints"), computed
upright by OpenCV, since copies on the web are cropped and mirrored but hardly ever turned. A descriptor is kept as the
signs of its projections on 128 fixed random directions (Charikar 2002, "Similarity estimation techniques from rounding
algorithms"). The second half of the directions are the mirror images of the first, so that swapping the two halves of
a code gives the code of the mirrored patch. An image too small for keypoints is described by its thumbnail.

Patches of all images with codes that begin alike are compared, from several beginnings in turn; images with a few
such patches in common are candidates. A pair is accepted where one shift and stretch carries many patches of one
image onto the other, spread over what the two have in common, and a fair share of all that lie there: a logo or a
watermark on two photos does not join them. Shift and stretch are found by trying that of each single patch (Philbin,
Chum, Isard, Sivic, Zisserman 2007, "Object retrieval with large vocabularies and fast spatial matching"), without
chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
_TABLES = 8
_NEIGHBORS = 8
_VOTES = 3
_CANDIDATE_DISTANCE, _CODE_DISTANCE = 16, 20  # of 128 bits: half of all true matches differ in 4, a tenth in over 13
_BIN = 64.0  # pixels of the frame
_REACH = 6.0  # pixels of the frame: how far the size of a single patch may lead astray
_TOLERANCES = (3.0, 3.0, 1.5, 1.5)  # pixels of the frame; copies fit to 0.3, circles drawn by two hands to 1.0
_SIZE_RATIO = 1.5

_MIN_INLIERS = 12
_MIN_SHARE = 0.08
_CELLS = 4  # across and down what two images have in common
_MIN_CELLS = 5
_MIN_CENTRAL = 3  # in its middle: all heads drawn as a circle agree at the rim
_MAX_SCALE = 6.0
_MAX_STRETCH = 1.25
_MIN_OVERLAP = 0.5

FRAME = 192
"""The longer side in pixels at which keypoints are looked for; their places and sizes are in its pixels."""
SMALL_SIDE = 96
"""Images with a shorter longest side, in pixels, are described by a thumbnail."""
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
        """Return the keypoints of the left-to-right mirror image."""
        places = self.places.copy()
        places[:, 0] = self.width - 1 - places[:, 0]
        return Keypoints(self.width, self.height, places, self.sizes, self.codes[:, ::-1])


def features(image: NDArray[np.uint8], width: int, height: int) -> dict[str, bytes]:
    """Return `keypoints` and `thumbnail` of an image (size, size, 3), stretched from `width` by `height` pixels.

    One of the two is empty; both are where OpenCV is missing.
    """
    if find_spec("cv2") is None:
        return {"keypoints": b"", "thumbnail": b""}
    gray = Image.fromarray(image).convert("L")
    if max(width, height) < SMALL_SIDE:
        small = gray.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
        return {"keypoints": b"", "thumbnail": small.tobytes()}
    scale = FRAME / max(width, height)
    shape = max(8, round(width * scale)), max(8, round(height * scale))
    return {"keypoints": _packed_keypoints(np.asarray(gray.resize(shape, Image.Resampling.BOX))), "thumbnail": b""}


def unpack_keypoints(data: bytes) -> Keypoints:
    """Return the keypoints that `features` packed: two bytes of width and height, then 19 bytes each."""
    width, height = (data[0], data[1]) if data else (0, 0)
    records = np.frombuffer(data, dtype=_RECORD, offset=min(2, len(data)))
    places = np.stack([records["x"], records["y"]], axis=1).astype(np.float32) * np.float32(FRAME / 256)
    sizes = np.exp2(records["size"].astype(np.float32) / _STEPS_PER_OCTAVE)
    return Keypoints(width, height, places, sizes, records["code"].astype(np.uint64))


def strongest(data: bytes, count: int) -> bytes:
    """Return packed keypoints without all but the `count` most distinct ones."""
    return data[: 2 + count * _RECORD.itemsize]


def _packed_keypoints(gray: NDArray[np.uint8]) -> bytes:
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
    """Return the most distinct upright keypoints with their places and sizes; SIFT repeats one for each orientation."""
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
    """Return codes (n, 2) of SIFT descriptors (n, 128); square roots make small gradients count (Arandjelović 2012)."""
    roots = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
    signs = np.einsum("nd,kd->nk", roots, _directions()) > 0
    return np.packbits(signs, axis=1).view(">u8").astype(np.uint64)


@cache
def _sift() -> Any:
    import cv2

    cv2.setNumThreads(1)  # the processes that decode share the cores
    return cv2.SIFT_create(contrastThreshold=_CONTRAST)  # type: ignore[attr-defined]


@cache
def _directions() -> NDArray[np.float32]:
    """Return 128 directions in the space of descriptors: 4 x 4 cells of 8 gradient angles in steps of 45 degrees.

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


@dataclass(frozen=True)
class Match:
    """The map of a first image's keypoints onto a second: x and y times `scale` plus `shift`; rows that fit."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]


def crop_pairs(packed: Sequence[bytes]) -> Pairs:
    """Find pairs (i, j), i < j, of images that show one photo, by their packed keypoints (see `features`)."""
    images = [unpack_keypoints(data) for data in packed]
    left, right, mirrored = candidates(images)
    found = [
        same_photo(images[i].mirrored() if mirror else images[i], images[j])
        for i, j, mirror in zip(left, right, mirrored, strict=True)
    ]
    accepted = np.array(found, dtype=bool)
    return left[accepted], right[accepted]


def candidates(images: Sequence[Keypoints]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Find pairs (i, j), i < j, with at least three patches alike, or alike once i is mirrored (third array)."""
    owner = np.repeat(np.arange(len(images)), [len(image) for image in images]).astype(np.int64)
    codes = np.concatenate([np.zeros((0, 2), np.uint64), *(image.codes for image in images)])
    matches = np.unique(np.concatenate([np.zeros(0, np.int64), *_alike(codes, owner)]))
    count, total = len(codes), len(images)
    mirror, first, second = matches // count**2, matches // count % count, matches % count
    pairs = (mirror * total + owner[first]) * total + owner[second]
    votes, number = np.unique(np.stack([pairs, _motions(images, mirror, first, second)]), axis=1, return_counts=True)
    pairs = np.unique(votes[0, number >= _VOTES])
    return pairs // total % total, pairs % total, pairs >= total**2


def _motions(
    images: Sequence[Keypoints], mirror: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return a number for how each match would stretch and shift its first image, roughly (a Hough transform's bin)."""
    empty = np.zeros((0, 2), np.float32)
    places = np.concatenate([empty, *(image.places for image in images)])
    sizes = np.concatenate([empty[:, 0], *(image.sizes for image in images)])
    widths = np.repeat([image.width for image in images], [len(image) for image in images])
    ratio = sizes[second] / sizes[first]
    start = places[first].copy()
    start[:, 0] = np.where(mirror > 0, widths[first] - 1 - start[:, 0], start[:, 0])
    shift = (places[second] - ratio[:, None] * start) / (_BIN * np.maximum(1, ratio[:, None]))
    stretch = np.rint(np.log2(ratio))
    return ((np.floor(shift) + 512) @ [1024, 1] * 64 + stretch + 32).astype(np.int64)


def _alike(codes: NDArray[np.uint64], owner: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield pairs of alike codes of different images as numbers (mirror * n + i) * n + j, in which i's image is first.

    In a list that is sorted by code, mirrored codes included, each is compared with the few that follow it.
    """
    count = len(codes)
    both = np.concatenate([codes, codes[:, ::-1]])
    for table in range(_TABLES):
        turned = _rotated(both, table * (64 // _TABLES))
        order = np.lexsort((turned[:, 1], turned[:, 0]))
        listed = both[order]
        for offset in range(1, _NEIGHBORS + 1):
            near = _distance(listed[offset:], listed[:-offset]) <= _CANDIDATE_DISTANCE
            one, other = order[:-offset][near], order[offset:][near]
            mirror = (one >= count).astype(np.int64) ^ (other >= count)
            one, other = one % count, other % count
            first, second = np.where(owner[one] < owner[other], (one, other), (other, one))
            yield ((mirror * count + first) * count + second)[owner[one] != owner[other]]


def _rotated(codes: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    if not bits:
        return codes
    return (codes << np.uint64(bits)) | (codes[:, ::-1] >> np.uint64(64 - bits))


def _distance(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.bitwise_count(first[..., 0] ^ second[..., 0]) + np.bitwise_count(first[..., 1] ^ second[..., 1])


def same_photo(first: Keypoints, second: Keypoints) -> bool:
    """Return True if what two images have in common can only come from one photo."""
    match = best_match(first, second)
    return match is not None and _is_convincing(match, first, second)


def best_match(first: Keypoints, second: Keypoints) -> Match | None:
    """Find the shift and stretch that carries most patches of `first` onto like ones of `second`, at least three."""
    rows, others = _mutual(first.codes, second.codes)
    if len(rows) < _VOTES:
        return None
    places, targets = first.places[rows].astype(np.float64), second.places[others].astype(np.float64)
    ratios = (second.sizes[others] / first.sizes[rows]).astype(np.float64)
    like_sized = np.abs(np.log(ratios[:, None] / ratios)) < np.log(_SIZE_RATIO)
    moved = ratios[:, None, None] * (places - places[:, None]) + targets[:, None]
    reach = _REACH * np.maximum(1, ratios)[:, None]
    carried = (np.abs(moved - targets).max(axis=2) < reach) & like_sized
    best = int(carried.sum(axis=1).argmax())
    inliers = carried[best]
    for tolerance in _TOLERANCES:
        if inliers.sum() < _VOTES:
            return None
        scale, shift = _fitted(places[inliers], targets[inliers], ratios[best])
        error = np.abs(places * scale + shift - targets) / np.maximum(1, scale)
        inliers = (error.max(axis=1) < tolerance) & like_sized[best]
    return Match(scale, shift, rows[inliers], others[inliers])


def _mutual(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> Pairs:
    """Find rows of codes that are each other's nearest and near."""
    if not len(first) or not len(second):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    distance = _distance(first[:, None], second)
    nearest, rows = distance.argmin(axis=1), np.arange(len(first))
    kept = (distance.argmin(axis=0)[nearest] == rows) & (distance[rows, nearest] <= _CODE_DISTANCE)
    return rows[kept], nearest[kept]


def _fitted(places: NDArray, targets: NDArray, ratio: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit scale and shift of x and of y by least squares; the ratio of sizes is the scale of an axis with no spread."""
    mean, aim = places.mean(axis=0), targets.mean(axis=0)
    spread = ((places - mean) ** 2).sum(axis=0)
    slope = ((places - mean) * (targets - aim)).sum(axis=0) / np.maximum(spread, 1e-9)
    scale = np.where(spread > 25 * len(places), slope, ratio)
    return scale, aim - scale * mean


def _is_convincing(match: Match, first: Keypoints, second: Keypoints) -> bool:
    scale, inliers = match.scale, len(match.first)
    if inliers < _MIN_INLIERS or scale.min() <= 1 / _MAX_SCALE or scale.max() >= _MAX_SCALE:
        return False
    if scale.max() / scale.min() > _MAX_STRETCH:
        return False
    size = np.array([second.width, second.height])
    low = np.maximum(0, match.shift)
    high = np.minimum(size, scale * [first.width, first.height] + match.shift)
    area = float(np.prod(np.maximum(high - low, 0)))
    whole = min(float(np.prod(size)), float(np.prod(scale)) * first.width * first.height)
    if area < _MIN_OVERLAP * whole:
        return False
    common = (_within(first.places * scale + match.shift, low, high), _within(second.places, low, high))
    if inliers < _MIN_SHARE * max(common):
        return False
    spread = (second.places[match.second] - low) / (high - low)
    central = int((np.abs(spread - 0.5) < 0.3).all(axis=1).sum())
    cells = np.clip(spread * _CELLS, 0, _CELLS - 1).astype(int)
    return central >= _MIN_CENTRAL and len(np.unique(cells @ [_CELLS, 1])) >= _MIN_CELLS


def _within(places: NDArray, low: NDArray, high: NDArray) -> int:
    return int(((places >= low) & (places <= high)).all(axis=1).sum())
