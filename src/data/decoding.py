"""Read, decode and fingerprint pictures on all cores, in order, with bounded memory."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, field
from io import RawIOBase
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DataError
from ..hardware import usable_cores
from .fingerprints import perceptual_hashes, statistics
from .images import DecodedPicture, Limits, decode_picture, prepare_image
from .locators import READ_ERRORS, PixelTextLocator, SyntheticLocator
from .samples import RejectedPictureError, Sample, Verdict

_CHUNK_BYTES = 4 << 20
_SERIAL_PICTURES = 64  # below this, starting processes takes longer than the work
_HEAVY_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Preparation:
    """How pictures are prepared: the side of the result in pixels, what is rejected, and the file they are written to.

    `pixels` has a slot of size * size * 3 bytes for each sample in turn; a rejected one leaves its slot as it was.
    """

    size: int
    limits: Limits
    pixels: Path

    @property
    def slot_bytes(self) -> int:
        """Bytes of one picture."""
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
    samples: Iterable[Sample], count: int, preparation: Preparation, workers: int | None
) -> Iterator[tuple[int, Sample, Outcome]]:
    """Decode `count` samples with `workers` processes (None: one for each core); slot, sample and outcome, in order.

    Raises DataError if a process dies, which a lack of memory does to it, and OSError if the disk is full.
    """
    chunks = _chunks(enumerate(samples), max(1, min(64, _CHUNK_BYTES // preparation.slot_bytes)))
    workers = workers or len(usable_cores())
    if workers == 1 or count <= _SERIAL_PICTURES or multiprocessing.current_process().daemon:
        for chunk in chunks:
            yield from _with_outcomes(chunk, decode_chunk(chunk, preparation))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads of whatever runs already
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(context.Lock(),))
    try:
        yield from _in_order(pool, chunks, preparation, ahead=2 * workers)
    except BrokenProcessPool:
        raise DataError("a process that decodes pictures was ended from outside, often for lack of memory") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor, chunks: Iterator[Chunk], preparation: Preparation, ahead: int
) -> Iterator[tuple[int, Sample, Outcome]]:
    """Outcomes chunk by chunk; only a few chunks are ever under way, so that memory does not grow with the data."""

    def submit(chunk: Chunk) -> tuple[Chunk, Future[list[Outcome]]]:
        return chunk, pool.submit(decode_chunk, chunk, preparation)

    waiting = deque(submit(chunk) for chunk in islice(chunks, ahead))
    while waiting:
        chunk, future = waiting.popleft()
        outcomes = future.result()
        waiting.extend(submit(following) for following in islice(chunks, 1))
        yield from _with_outcomes(chunk, outcomes)


def _with_outcomes(chunk: Chunk, outcomes: list[Outcome]) -> Iterator[tuple[int, Sample, Outcome]]:
    for (slot, sample), outcome in zip(chunk, outcomes, strict=True):
        yield slot, sample, outcome


def _chunks(samples: Iterable[tuple[int, Sample]], size: int) -> Iterator[Chunk]:
    iterator = iter(samples)
    while chunk := list(islice(iterator, size)):
        yield chunk


_one_heavy_picture_at_a_time: Any = nullcontext()


def _start_worker(lock: Any) -> None:
    global _one_heavy_picture_at_a_time
    _one_heavy_picture_at_a_time = lock


def decode_chunk(chunk: Chunk, preparation: Preparation) -> list[Outcome]:
    """Read, decode and write samples; an unusable picture becomes its verdict. Raises OSError if the disk is full."""
    outcomes: list[Outcome] = []
    pictures: list[NDArray[np.uint8]] = []
    with preparation.pixels.open("r+b", buffering=0) as file:
        for slot, sample in chunk:
            outcome, pixels = _decode(sample, preparation)
            outcomes.append(outcome)
            if pixels is not None:
                pictures.append(pixels)
                file.seek(slot * preparation.slot_bytes)
                _write_all(file, np.ascontiguousarray(pixels).data.cast("B"))
    if pictures:
        accepted = (outcome for outcome in outcomes if outcome.verdict == "ok")
        for outcome, phash, dhash in zip(accepted, *perceptual_hashes(pictures), strict=True):
            outcome.facts |= {"phash": int(phash), "dhash": int(dhash)}
    return outcomes


def _write_all(file: RawIOBase, data: memoryview) -> None:
    """A raw file may take a part at a time; on a full disk the part that is left raises OSError."""
    while data:
        data = data[file.write(data) or 0 :]


def _decode(sample: Sample, preparation: Preparation) -> tuple[Outcome, NDArray[np.uint8] | None]:
    if isinstance(sample.locator, SyntheticLocator):
        return _draw(sample.locator, preparation.size)
    sha256 = ""
    try:
        data = sample.locator.read(preparation.limits.bytes + 1)
        sha256 = hashlib.sha256(data).hexdigest()
        if isinstance(sample.locator, PixelTextLocator):
            picture = _from_text(data, preparation.size)
        else:
            with _one_heavy_picture_at_a_time if len(data) > _HEAVY_BYTES else nullcontext():
                picture = decode_picture(data, preparation.size, preparation.limits)
    except RejectedPictureError as rejection:
        return Outcome(rejection.verdict, rejection.detail, sha256), None
    except READ_ERRORS as error:
        return Outcome("unreadable", " ".join(str(error).split())[:200] or type(error).__name__, sha256), None
    facts = {"width": picture.width, "height": picture.height, "format": picture.format, "mode": picture.mode}
    return _accepted(sha256, picture.pixels, facts | {"bytes": len(data)}), picture.pixels


def _accepted(sha256: str, pixels: NDArray[np.uint8], facts: dict[str, Any]) -> Outcome:
    pixel_digest = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()[:16]
    return Outcome("ok", "", sha256 or pixel_digest, facts | {"pixel_digest": pixel_digest} | vars(statistics(pixels)))


def _draw(face: SyntheticLocator, size: int) -> tuple[Outcome, NDArray[np.uint8]]:
    from ..synthetic.faces import draw_face

    pixels, factors = draw_face(face.seed, face.index, size, face.ambiguity)
    facts = {"width": size, "height": size, "format": "synthetic", "mode": "RGB", "bytes": 0}
    columns = {name: value for name, value in factors.columns().items() if name != "label"}
    return _accepted("", pixels, facts | columns), pixels


def _from_text(text: bytes, size: int) -> DecodedPicture:
    """A square grey picture from decimal numbers. Raises RejectedPictureError."""
    try:
        values = np.array(text.split(), dtype=np.uint8)
    except (ValueError, OverflowError):
        raise RejectedPictureError("unreadable", "pixels that are no numbers from 0 to 255") from None
    side = round(len(values) ** 0.5)
    if not side or side * side != len(values):
        raise RejectedPictureError("truncated", f"{len(values)} pixels make no square picture")
    image = Image.fromarray(values.reshape(side, side))
    return DecodedPicture(np.asarray(prepare_image(image, size)), side, side, "pixels", "L")
