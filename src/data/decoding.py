"""Read, decode and describe images on all cores, in order, with bounded memory."""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from io import RawIOBase
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..hardware import end_with_parent, usable_cores
from ..ray_cluster import connect
from .image_statistics import statistics
from .local_features import FRAME, features, keep_to_one_core
from .locators import READ_ERRORS
from .near_duplicates import perceptual_hashes
from .pixel_budget import DECODING
from .samples import DecodedImage, Fit, Limits, RejectedImageError, Sample, Verdict
from .store import pixel_digest

_CHUNK_BYTES = 4 << 20
_SERIAL_IMAGES = 64  # below this, starting processes takes longer than the work
_ENDED = "a process that decodes images was ended from outside, often for lack of memory"


@dataclass(frozen=True, slots=True)
class Preparation:
    """How images are prepared: the side of the result in pixels, what is rejected, and the file they are written to.

    `pixels` has a slot of size * size * 3 bytes for each sample in turn; a rejected one leaves its slot as it was.
    `local_features` has crops described too, `fit` says how an image becomes a square.
    """

    size: int
    limits: Limits
    pixels: Path
    local_features: bool = False
    fit: Fit = "stretch"

    @property
    def slot_bytes(self) -> int:
        """Bytes of one image."""
        return self.size * self.size * 3


@dataclass(slots=True)
class Outcome:
    """What became of one sample. `facts` of an accepted one are its row's values in the table."""

    verdict: Verdict
    detail: str = ""
    sha256: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


Chunk: TypeAlias = "list[tuple[int, Sample]]"
"""Samples with their slots."""


def decode_samples(
    samples: Iterable[Sample], count: int, preparation: Preparation, workers: int | None, cluster: str | None = None
) -> Iterator[tuple[int, Sample, Outcome]]:
    """Decode `count` samples with `workers` processes (None: one for each core), or on the Ray cluster at the address
    `cluster`; slot, sample and outcome, in order.

    Raises DataError if a process dies, which a lack of memory does to it, ClusterError, and OSError if the disk is
    full.
    """
    chunks = _chunks(samples, max(1, min(64, _CHUNK_BYTES // preparation.slot_bytes)))
    workers = workers or len(usable_cores())
    decoded: Iterator[tuple[Chunk, list[Outcome]]]
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
) -> Iterator[tuple[Chunk, list[Outcome]]]:
    """Outcomes chunk by chunk; only a few chunks are ever under way, so that memory does not grow with the data."""
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads of whatever runs already
    budget = DECODING.shared(context)
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(budget,))

    def submitted(count: int) -> Iterator[tuple[Chunk, Future[list[Outcome]]]]:
        return ((chunk, pool.submit(decode_and_write, chunk, preparation)) for chunk in islice(chunks, count))

    try:
        waiting = deque(submitted(2 * workers))
        while waiting:
            chunk, future = waiting.popleft()
            outcomes = future.result()
            waiting.extend(submitted(1))
            yield chunk, outcomes
    except BrokenProcessPool:
        raise DataError(_ENDED) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _decode_on_ray(
    chunks: Iterator[Chunk], preparation: Preparation, address: str
) -> Iterator[tuple[Chunk, list[Outcome]]]:
    """The same on a cluster, whose nodes read the images and send back what they prepared; it is written here.

    A chunk whose node is lost is decoded again on another one.
    """
    was_connected = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    ray = connect(address, "dataset.cluster")
    task = ray.remote(num_cpus=1)(_decode_on_one_core)

    def submitted(count: int) -> Iterator[tuple[Chunk, Any]]:
        return ((chunk, task.remote(chunk, preparation)) for chunk in islice(chunks, count))

    waiting = deque(submitted(2 * max(1, int(ray.cluster_resources().get("CPU", 1)))))
    try:
        while waiting:
            chunk, reference = waiting.popleft()
            outcomes, images = ray.get(reference)
            waiting.extend(submitted(1))
            _write(chunk, images, preparation)
            yield chunk, outcomes
    except ray.exceptions.RayTaskError:
        raise  # what decoding itself raised
    except ray.exceptions.RayError:
        raise DataError(_ENDED) from None
    finally:
        for _, reference in waiting:
            ray.cancel(reference)
        if not was_connected:
            ray.shutdown()


def _decode_on_one_core(chunk: Chunk, preparation: Preparation) -> tuple[list[Outcome], list[NDArray[np.uint8] | None]]:
    keep_to_one_core()
    return decode_chunk(chunk, preparation)


def _start_worker(budget: tuple[Any, Any]) -> None:
    end_with_parent()
    DECODING.share_with(budget)
    keep_to_one_core()


def decode_and_write(chunk: Chunk, preparation: Preparation) -> list[Outcome]:
    """Read, decode and write samples. Raises OSError if the disk is full."""
    outcomes, images = decode_chunk(chunk, preparation)
    _write(chunk, images, preparation)
    return outcomes


def decode_chunk(chunk: Chunk, preparation: Preparation) -> tuple[list[Outcome], list[NDArray[np.uint8] | None]]:
    """Read and decode samples: outcomes, and pixels (size, size, 3). An unusable image becomes its verdict, and has
    none.
    """
    decoded = [_decode(sample, preparation) for _, sample in chunk]
    accepted = [(outcome, pixels) for outcome, pixels in decoded if pixels is not None]
    if accepted:
        hashes = perceptual_hashes([pixels for _, pixels in accepted])
        for (outcome, _), phash, dhash in zip(accepted, *hashes, strict=True):
            outcome.facts |= {"phash": int(phash), "dhash": int(dhash)}
    return [outcome for outcome, _ in decoded], [pixels for _, pixels in decoded]


def _write(chunk: Chunk, images: list[NDArray[np.uint8] | None], preparation: Preparation) -> None:
    with preparation.pixels.open("r+b", buffering=0) as file:
        for (slot, _), pixels in zip(chunk, images, strict=True):
            if pixels is not None:
                file.seek(slot * preparation.slot_bytes)
                _write_all(file, np.ascontiguousarray(pixels).data.cast("B"))


def _write_all(file: RawIOBase, data: memoryview) -> None:
    """A raw file may take some of the bytes at a time; on a full disk the rest raises OSError."""
    while data:
        data = data[file.write(data) or 0 :]


def _decode(sample: Sample, preparation: Preparation) -> tuple[Outcome, NDArray[np.uint8] | None]:
    locator, sha256 = sample.locator, ""
    try:
        data = locator.read(preparation.limits.bytes + 1)
        sha256 = hashlib.sha256(data).hexdigest() if locator.has_file else ""
        fit = () if preparation.fit == "stretch" else (preparation.fit,)  # which not every source knows
        image = locator.decode(data, preparation.size, preparation.limits, *fit)
        described = _local_features(sample, data, image, preparation)
    except RejectedImageError as rejection:
        return Outcome(rejection.verdict, rejection.detail, sha256), None
    except READ_ERRORS as error:
        return Outcome("unreadable", " ".join(str(error).split())[:200] or type(error).__name__, sha256), None
    digest = pixel_digest(image.pixels)
    facts = {"width": image.width, "height": image.height, "format": image.format, "mode": image.mode}
    facts |= {
        "bytes": len(data),
        **image.facts,
        **described,
        "pixel_digest": digest,
        **vars(statistics(image.pixels)),
    }
    return Outcome("ok", "", sha256 or digest, facts), image.pixels


def _local_features(sample: Sample, data: bytes, image: DecodedImage, preparation: Preparation) -> dict[str, bytes]:
    """What finds an image's crops, from at least as many pixels as keypoints need. Raises RejectedImageError."""
    if not preparation.local_features or not sample.locator.has_file:
        return {}
    longer = max(image.width, image.height)
    if preparation.size < min(FRAME, longer) or preparation.fit != "stretch":
        image = sample.locator.decode(data, FRAME, preparation.limits)
    width, height = (image.height, image.width) if image.turned else (image.width, image.height)
    return features(image.pixels, width, height)
