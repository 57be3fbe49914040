"""Read, decode and describe images on all cores or on a Ray cluster, in order, with bounded memory."""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DataError
from ..ray_cluster import connect
from ..system import end_with_parent, usable_cores
from .crops import FRAME, features
from .duplicates import perceptual_hashes
from .images import DECODING
from .locators import READ_ERRORS
from .samples import DecodedImage, FitMode, Limits, RejectedImageError, Sample, Verdict
from .store import pixel_digest

_CHUNK_BYTES = 4 << 20
_SERIAL_IMAGES = 64  # below this, starting processes takes longer than the work
_ENDED = "a process that decodes images was ended from outside, often for lack of memory"
_GRAY_SATURATION = 8.0


@dataclass(frozen=True, slots=True)
class Preparation:
    """Settings of the preparation: the side of the result in pixels, what is rejected, and the file to write to.

    `pixels` has a slot of size * size * 3 bytes for each sample in turn; a rejected one leaves its slot as it was.
    `local_features` asks for the features that find crops, `fit` says how an image becomes a square.
    """

    size: int
    limits: Limits
    pixels: Path
    local_features: bool = False
    fit: FitMode = "stretch"

    @property
    def slot_bytes(self) -> int:
        """Bytes of one image."""
        return self.size * self.size * 3


@dataclass(slots=True)
class DecodedSample:
    """The verdict on one sample. `facts` of an accepted one are its row's values in the table."""

    verdict: Verdict
    detail: str = ""
    sha256: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


Chunk: TypeAlias = "list[tuple[int, Sample]]"
"""Samples with their slots."""
DecodedChunk: TypeAlias = "tuple[list[DecodedSample], list[NDArray[np.uint8] | None]]"
"""For each sample of a chunk its verdict, and its pixels (size, size, 3) unless it is rejected."""


def decode_samples(
    samples: Iterable[Sample], count: int, preparation: Preparation, workers: int | None, cluster: str | None = None
) -> Iterator[tuple[int, Sample, DecodedSample]]:
    """Decode `count` samples and write their pixels; yield slot, sample and verdict in order.

    `workers` processes decode (None: one for each core), or the Ray cluster at the address `cluster`. Raises DataError
    if a process dies, which a lack of memory does to it, ClusterError, and OSError if the disk is full.
    """
    chunks = _chunks(samples, max(1, min(64, _CHUNK_BYTES // preparation.slot_bytes)))
    workers = workers or len(usable_cores())
    if cluster and count > _SERIAL_IMAGES:
        decoded = _decode_on_ray(chunks, preparation, cluster)
    elif workers == 1 or count <= _SERIAL_IMAGES or multiprocessing.current_process().daemon:
        decoded = ((chunk, decode_and_write(chunk, preparation)) for chunk in chunks)
    else:
        decoded = _decode_in_parallel(chunks, preparation, workers)
    for chunk, outcomes in decoded:
        for (slot, sample), outcome in zip(chunk, outcomes, strict=True):
            yield slot, sample, outcome


def _chunks(samples: Iterable[Sample], size: int) -> Iterator[Chunk]:
    numbered = enumerate(samples)
    while chunk := list(islice(numbered, size)):
        yield chunk


def _decode_in_parallel(
    chunks: Iterator[Chunk], preparation: Preparation, workers: int
) -> Iterator[tuple[Chunk, list[DecodedSample]]]:
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads of whatever runs already
    budget = DECODING.shared(context)
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(budget,))
    try:
        yield from _in_order(chunks, lambda chunk: pool.submit(decode_and_write, chunk, preparation), 2 * workers)
    except BrokenProcessPool:
        raise DataError(_ENDED) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(budget: tuple[Any, Any]) -> None:
    end_with_parent()
    DECODING.share_with(budget)


def _in_order(
    chunks: Iterator[Chunk], submit: Callable[[Chunk], Future[Any]], ahead: int
) -> Iterator[tuple[Chunk, Any]]:
    """Yield chunks with their results, of which at most `ahead` are under way, so that memory stays bounded."""
    waiting = deque((chunk, submit(chunk)) for chunk in islice(chunks, ahead))
    while waiting:
        chunk, future = waiting.popleft()
        result = future.result()
        waiting.extend((following, submit(following)) for following in islice(chunks, 1))
        yield chunk, result


def _decode_on_ray(
    chunks: Iterator[Chunk], preparation: Preparation, address: str
) -> Iterator[tuple[Chunk, list[DecodedSample]]]:
    """Decode on a cluster's nodes, which read the images and send back their pixels; they are written here.

    Ray decodes a chunk again on another node when its node is lost.
    """
    was_connected = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    ray = connect(address, "dataset.cluster")
    task = ray.remote(num_cpus=1)(decode_chunk)
    ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    try:
        for chunk, decoded in _in_order(chunks, lambda chunk: task.remote(chunk, preparation).future(), ahead):
            yield chunk, _write(chunk, decoded, preparation)
    except ray.exceptions.RayTaskError:
        raise  # what decoding itself raised
    except ray.exceptions.RayError:
        raise DataError(_ENDED) from None
    finally:
        if not was_connected:
            ray.shutdown()


def decode_and_write(chunk: Chunk, preparation: Preparation) -> list[DecodedSample]:
    """Read, decode and write samples. Raises OSError if the disk is full."""
    return _write(chunk, decode_chunk(chunk, preparation), preparation)


def decode_chunk(chunk: Chunk, preparation: Preparation) -> DecodedChunk:
    """Read and decode samples."""
    decoded = [_decode(sample, preparation) for _, sample in chunk]
    accepted = [(outcome, pixels) for outcome, pixels in decoded if pixels is not None]
    if accepted:
        hashes = perceptual_hashes([pixels for _, pixels in accepted])
        for (outcome, _), phash, dhash in zip(accepted, *hashes, strict=True):
            outcome.facts |= {"phash": int(phash), "dhash": int(dhash)}
    return [outcome for outcome, _ in decoded], [pixels for _, pixels in decoded]


def _write(chunk: Chunk, decoded: DecodedChunk, preparation: Preparation) -> list[DecodedSample]:
    outcomes, images = decoded
    with preparation.pixels.open("r+b") as file:
        for (slot, _), pixels in zip(chunk, images, strict=True):
            if pixels is not None:
                file.seek(slot * preparation.slot_bytes)
                file.write(np.ascontiguousarray(pixels).data)
    return outcomes


def _decode(sample: Sample, preparation: Preparation) -> tuple[DecodedSample, NDArray[np.uint8] | None]:
    locator, sha256 = sample.locator, ""
    try:
        data = locator.read(preparation.limits.bytes + 1)
        sha256 = hashlib.sha256(data).hexdigest() if locator.has_file else ""
        fit = () if preparation.fit == "stretch" else (preparation.fit,)  # which not every source knows
        image = locator.decode(data, preparation.size, preparation.limits, *fit)
        described = _local_features(sample, data, image, preparation)
    except RejectedImageError as rejection:
        return DecodedSample(rejection.verdict, rejection.detail, sha256), None
    except READ_ERRORS as error:
        return DecodedSample("unreadable", " ".join(str(error).split())[:200] or type(error).__name__, sha256), None
    digest = pixel_digest(image.pixels)
    facts = {"width": image.width, "height": image.height, "format": image.format, "mode": image.mode}
    facts |= {"bytes": len(data), **image.facts, **described, "pixel_digest": digest}
    return DecodedSample("ok", "", sha256 or digest, facts | image_statistics(image.pixels)), image.pixels


def _local_features(sample: Sample, data: bytes, image: DecodedImage, preparation: Preparation) -> dict[str, bytes]:
    """Return the features that find an image's crops, with the pixels that they need. Raises RejectedImageError."""
    if not preparation.local_features or not sample.locator.has_file:
        return {}
    longer = max(image.width, image.height)
    if preparation.size < min(FRAME, longer) or preparation.fit != "stretch":
        image = sample.locator.decode(data, FRAME, preparation.limits)
    width, height = (image.height, image.width) if image.turned else (image.width, image.height)
    return features(image.pixels, width, height)


def image_statistics(image: NDArray[np.uint8]) -> dict[str, float | str]:
    """Return brightness, contrast, saturation, sharpness and mean color of an image (size, size, 3).

    All are in gray levels of the image shrunk to about 128 pixels a side: means, and for contrast and sharpness the
    standard deviations of the luma and of its Laplacian. `color` is "gray" where the channels hardly differ. A model
    that does well on these alone has learned the light or the camera, not the expression.
    """
    reduced = Image.fromarray(image).reduce(max(1, len(image) // 128))
    luma = np.asarray(reduced.convert("L"), dtype=np.float32)
    laplacian = 4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    channels = [np.asarray(channel, dtype=np.float32) for channel in reduced.reduce(2).split()]
    saturation = float((np.maximum.reduce(channels) - np.minimum.reduce(channels)).mean())
    return {
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
        "saturation": saturation,
        "sharpness": float(laplacian.std()),
        **{name: float(channel.mean()) for name, channel in zip(("red", "green", "blue"), channels, strict=True)},
        "color": "gray" if saturation < _GRAY_SATURATION else "color",
    }
