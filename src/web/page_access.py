"""Signing in to the page: a browser gives the token once and then holds a cookie that is made from it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Form
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "happy_sad_page"
LOGIN, LOGOUT = "/login", "/logout"

_FORM = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{ color-scheme: light dark; font: 1.1rem/1.5 system-ui, sans-serif }}
body {{ min-height: 90vh; display: grid; place-items: center; margin: 1rem }}
form {{ display: grid; gap: .8rem; width: min(22rem, 100%) }}
input, button {{ font: inherit; padding: .6rem .8rem; border-radius: .5rem; border: 1px solid #8888 }}
button {{ background: #c2410c; color: white; border: 0; cursor: pointer }}
p {{ margin: 0 }}
</style><form method="post"><h1>Sign in</h1><label for="token">The token that this service was started with</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<p role="alert">{message}</p><button>Sign in</button></form></html>"""


def same_secret(given: str, expected: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(given.encode(), expected.encode())


def is_signed_in(connection: HTTPConnection, token: str | None) -> bool:
    """Whether the request carries the cookie or the bearer token; always where there is no `token`."""
    if not token:
        return True
    scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and same_secret(bearer, token):
        return True
    return same_secret(connection.cookies.get(COOKIE, ""), _cookie(token))


def add_sign_in(service: FastAPI, token: str) -> None:
    """Add the form that takes the token, and the way out."""

    @service.get(LOGIN, include_in_schema=False)
    def form() -> HTMLResponse:
        return HTMLResponse(_FORM.format(message=""))

    @service.post(LOGIN, include_in_schema=False)
    def sign_in(given: Annotated[str, Form(alias="token", max_length=4096)]) -> Response:
        if not same_secret(given, token):
            return HTMLResponse(_FORM.format(message="That is not the token."), 401)
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, _cookie(token), httponly=True, samesite="strict")
        return response

    @service.get(LOGOUT, include_in_schema=False)
    def sign_out() -> Response:
        response = RedirectResponse(LOGIN, 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response


def _cookie(token: str) -> str:
    """What the cookie holds: it opens the page, and the token cannot be learned from it."""
    return hmac.new(token.encode(), b"happy-sad page", hashlib.sha256).hexdigest()


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
