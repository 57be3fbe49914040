"""What a browser may ask of Gradio, checked before Gradio sees it: the page's own addresses, and uploaded files only.

Gradio opens files that a request names. Whether it checks them depends on how it was started and on its version, so
nothing here relies on it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .page_uploads import UploadLimits
from .uploads import BODY_SECONDS

MAX_EVENT_BYTES = 8_000_000
"""Of one event's JSON, in which the camera sends its frames."""

MAX_EVENT_VALUES = 50_000
"""Of one event's JSON: each takes many times its bytes in memory; 500 images have a tenth of it."""

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; connect-src 'self' data: blob:; font-src 'self' data:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""The page's content security policy. Gradio's scripts stand in its page and make templates of strings; nothing comes
from another host.
"""

_FILE = "/gradio_api/file="
_READ = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(assets|static|svelte)/.+"
    r"|/gradio_api/(theme\.css|startup-events|app_id/?|heartbeat/\w+|queue/data|upload_progress)"
)
_EVENT = re.compile(r"/gradio_api/(queue/join|cancel|reset/?|stream/\w+(/close)?)")
_UPLOAD = "/gradio_api/upload"
_STREAM = re.compile(r"/gradio_api/(heartbeat/\w+|queue/data)")
MAX_STREAMS = 200
"""Answers that stay open as long as a browser shows the page; connections beyond them are the API's."""


def is_upload(path: object, folder: Path) -> bool:
    """Whether `path` names a regular file below `folder`, all links followed; it is not opened."""
    if not isinstance(path, str):
        return False
    try:
        real = os.path.realpath(path)
        return Path(real).is_relative_to(os.path.realpath(folder)) and stat.S_ISREG(os.lstat(real).st_mode)
    except (OSError, ValueError):
        return False


class PageGuard:
    """ASGI middleware around the page. `folder` is where it keeps uploads.

    Another address than those of the page gets 404, a file that was not uploaded 404, an event that names one 400, and
    an event that comes too slowly 408.
    """

    def __init__(self, page: ASGIApp, folder: Path) -> None:
        self._page, self._folder, self._streams = page, folder, 0
        self._upload = UploadLimits(page, folder)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        if scope["type"] == "lifespan":
            await self._page(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "POST" and _EVENT.fullmatch(scope["path"]):
            await self._event(scope, receive, send_with_policy)
        elif scope["type"] == "http" and (scope["method"], scope["path"]) == ("POST", _UPLOAD):
            await self._upload(scope, receive, send_with_policy)
        elif scope["type"] == "http" and scope["method"] == "GET" and _STREAM.fullmatch(scope["path"]):
            await self._stream(scope, receive, send_with_policy)
        elif scope["type"] == "http" and self._is_known(scope["method"], scope["path"]):
            await self._page(scope, receive, send_with_policy)
        else:
            await PlainTextResponse("not found", 404)(scope, receive, send)

    def _is_known(self, method: str, path: str) -> bool:
        if method not in ("GET", "HEAD"):
            return False
        if path.startswith(_FILE):
            return is_upload(path.removeprefix(_FILE), self._folder)
        return _READ.fullmatch(path) is not None

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._streams >= MAX_STREAMS:
            await PlainTextResponse("too many pages are open", 503, {"Retry-After": "5"})(scope, receive, send)
            return
        self._streams += 1
        try:
            await self._page(scope, receive, send)
        finally:
            self._streams -= 1

    async def _event(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read(receive, MAX_EVENT_BYTES)
        except TimeoutError:
            late = f"the event took more than {BODY_SECONDS} seconds"
            await PlainTextResponse(late, 408, {"Connection": "close"})(scope, receive, send)
            return
        if body is None:
            await PlainTextResponse(f"more than {MAX_EVENT_BYTES} bytes", 413)(scope, receive, send)
            return
        try:
            many = sum(map(body.count, (b",", b"[", b"{"))) > MAX_EVENT_VALUES
            event = json.loads(body) if body and not many else {}
            sound = not many and isinstance(event, dict) and self._names_uploads_only(event)
            body = json.dumps(event).encode()  # so that Gradio cannot understand it in another way
        except (ValueError, RecursionError):
            sound = False
        if not sound:
            await PlainTextResponse("an event that cannot be taken", 400)(scope, receive, send)
            return
        scope = {**scope, "headers": list(scope["headers"])}
        MutableHeaders(scope=scope)["content-length"] = str(len(body))
        await self._page(scope, _replaying(body, receive), send)

    def _names_uploads_only(self, value: Any) -> bool:
        """Whether each `path` in nested JSON, wherever it stands, is that of an upload, or there is none."""
        if isinstance(value, list):
            return all(map(self._names_uploads_only, value))
        if not isinstance(value, dict):
            return True
        named = value.get("path")
        return (named in (None, "") or is_upload(named, self._folder)) and all(
            map(self._names_uploads_only, value.values())
        )


async def _read(receive: Receive, limit: int) -> bytes | None:
    """A request's body; None past the limit. A sender that leaves has sent what there is."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            return None
    return body


def _replaying(body: bytes, receive: Receive) -> Receive:
    """What gives `body` as the one message of a request and then goes on with `receive`."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
