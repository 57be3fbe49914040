"""What the page's uploads may take: bytes on the disk, places, and time. Gradio bounds the size of one file only."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BYTES = 4_000_000_000
"""Of all that is kept at once; Gradio deletes a file after an hour."""

MAX_AT_ONCE = 16
SECONDS = 300
"""One upload has so long to come."""


class UploadLimits:
    """ASGI application around the page for uploads to `folder`: 503 past the places, 507 where the folder is full, 408
    for one that is too slow.
    """

    def __init__(self, page: ASGIApp, folder: Path) -> None:
        self._page, self._folder = page, folder
        self._under_way: dict[object, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        upload, answered = object(), False
        if len(self._under_way) >= MAX_AT_ONCE:
            await PlainTextResponse("too many uploads at once", 503, {"Retry-After": "5"})(scope, receive, send)
            return
        self._under_way[upload] = 0

        async def noticed(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            kept = await asyncio.to_thread(_size, self._folder)
            async with asyncio.timeout(SECONDS) as deadline:

                async def counted() -> Message:
                    message = await receive()
                    self._under_way[upload] += len(message.get("body", b""))
                    if kept + sum(self._under_way.values()) > MAX_BYTES:
                        deadline.reschedule(0)
                        await asyncio.sleep(SECONDS)  # which the deadline ends
                    return message

                await self._page(scope, counted, noticed)
        except TimeoutError:
            full = deadline.when() == 0
            rejection = (
                PlainTextResponse("no room for more images; try again in an hour", 507)
                if full
                else PlainTextResponse(f"the upload took more than {SECONDS} seconds", 408, {"Connection": "close"})
            )
            if not answered:
                await rejection(scope, receive, send)
        finally:
            del self._under_way[upload]


def _size(folder: Path) -> int:
    """Bytes of all files below `folder`; one that is being deleted counts for nothing."""
    total, pending = 0, [str(folder)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total
