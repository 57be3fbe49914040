"""The place of the page in the service: it is made in the background while the API answers already."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from src.inference.signing_in import LOGIN, is_signed_in

_SOON = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="1">
<title>Starting</title><style>:root { color-scheme: light dark; font: 1.1rem system-ui, sans-serif }
body { min-height: 90vh; display: grid; place-items: center }</style><p>The page is starting.</p></html>"""


class PageSlot:
    """An ASGI application that stands for the page, also before it is there. With a `token`, a browser must sign in."""

    def __init__(self, build: Callable[[], FastAPI], token: str | None) -> None:
        self._build, self._token = build, token
        self._page: ASGIApp | None = None
        self._stop = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answering(HTTPConnection(scope))(scope, receive, send)

    def _answering(self, connection: HTTPConnection) -> ASGIApp:
        if not is_signed_in(connection, self._token):
            wants_page = "text/html" in connection.headers.get("accept", "")
            return RedirectResponse(LOGIN, 303) if wants_page else PlainTextResponse("sign in at /login", 401)
        return self._page or _soon()

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Make the page beside the service, and close it when the service stops."""
        living = asyncio.create_task(self._live())
        living.add_done_callback(self._tell_failure)
        yield
        self._stop.set()
        await asyncio.wait([living])

    async def _live(self) -> None:
        """The page from start to stop; its own lifespan begins and ends in one task, as its libraries demand."""
        page = await asyncio.to_thread(self._build)
        async with page.router.lifespan_context(page):
            self._page = page
            await self._stop.wait()
            self._page = None

    def close_streams(self) -> None:
        """End the connections that a browser holds as long as it shows the page."""
        if isinstance(self._page, FastAPI):
            self._page.state.close_streams()

    def _tell_failure(self, living: asyncio.Task[None]) -> None:
        if not living.cancelled() and (error := living.exception()):
            logging.getLogger("uvicorn.error").error("the page cannot be shown; the API goes on", exc_info=error)
            self._page = PlainTextResponse("the page could not be made; the service's log says why", 500)


def _soon() -> Response:
    return HTMLResponse(_SOON, 503, {"Retry-After": "1"})
