"""Images that come over HTTP: so many requests at once, each within limits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from ..data.samples import Limits
from ..runtime.predictor import ImageFile

RETRY_SECONDS = 1
BODY_SECONDS = 30
"""A request's body has so long to come."""

MAX_READING_BYTES = 512_000_000
_READING: dict[object, int] = {}
"""Bytes of the bodies that are being read now."""


SERVING_LIMITS = Limits(megapixels=24.0, megabytes=32.0)
"""Of one image that a stranger sends: lower than of one's own."""


@dataclass(frozen=True)
class ServiceLimits:
    """Limits of requests: images and bytes in one request, and requests that are worked on or wait at once."""

    images: int = 32
    megabytes: float = 64.0
    requests: int = 16

    @property
    def bytes(self) -> int:
        """Bytes in one request."""
        return int(self.megabytes * 1e6)


class Gate:
    """Lets a bounded number of requests in; the rest get 503 with Retry-After."""

    def __init__(self, places: int) -> None:
        self.places = threading.BoundedSemaphore(places)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place. Raises HTTPException where there is none left."""
        if not self.places.acquire(blocking=False):
            raise HTTPException(503, "too many requests at once", {"Retry-After": str(RETRY_SECONDS)})
        try:
            yield
        finally:
            self.places.release()


async def uploaded_images(request: Request, limits: ServiceLimits) -> list[ImageFile]:
    """The uploaded images. Raises HTTPException 413 past a limit, 408 past the time, 400 for a broken form."""
    if int(request.headers.get("content-length") or 0) > limits.bytes:
        raise HTTPException(413, f"more than {limits.megabytes:g} megabytes")
    body = await body_within(request, limits.bytes)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        if not body:
            raise HTTPException(400, "the body is empty; send an image, or a form with images")
        return [ImageFile("body", body)]
    try:
        # Starlette reads the body that was kept, and stops at the limit of files by itself.
        form = await request.form(max_files=limits.images, max_fields=limits.images)
    except (MultiPartException, HTTPException) as error:
        raise HTTPException(400, f"not a form of at most {limits.images} images: {error}") from None
    uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    images = [ImageFile(upload.filename or "file", await upload.read()) for upload in uploads]
    if not images:
        raise HTTPException(400, "the form holds no file")
    return images


async def body_within(request: Request, limit: int) -> bytes:
    """The body. A sender that announces no length, or a false one, is stopped at the limit, and a slow one in time.

    Raises HTTPException 413, 408 for a sender that is too slow, 400 for one that leaves, and 503
    while the bodies that are being read fill what memory there is for them.
    """
    chunks, size = [], 0
    reading = object()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise HTTPException(413, f"more than {limit / 1e6:g} megabytes")
                _READING[reading] = size
                if sum(_READING.values()) > MAX_READING_BYTES:
                    raise HTTPException(503, "too many bodies at once", {"Retry-After": str(RETRY_SECONDS)})
                chunks.append(chunk)
    except ClientDisconnect:
        raise HTTPException(400, "the sender left before the end") from None
    except TimeoutError:
        raise HTTPException(408, f"the body took more than {BODY_SECONDS} seconds", {"Connection": "close"}) from None
    finally:
        _READING.pop(reading, None)
    request._body = b"".join(chunks)  # what Request.body() keeps, for Request.form() to read
    return request._body
