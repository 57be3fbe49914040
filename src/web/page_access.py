"""Who may use the page: a browser that gave the token, or opened the page where none is asked for, holds a cookie."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .uploads import body_within

COOKIE = "happy_sad_page"
LOGIN, LOGOUT = "/login", "/logout"
SESSION_SECONDS, MAX_SESSIONS = 12 * 3600, 10_000
MAX_GUESSES, GUESS_SECONDS = 5, 60
MAX_ALL_GUESSES = 60
"""From all addresses together: a proxy's headers, which name an address, can be made up."""

MAX_FORM_BYTES = 10_000

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


class Sessions:
    """The browsers that hold a cookie, by its random value, in memory: signing out or a restart ends them."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def open(self) -> str:
        """A new session; past `MAX_SESSIONS` the oldest ends."""
        session = secrets.token_urlsafe(32)
        self._ends[session] = time.monotonic() + SESSION_SECONDS
        while len(self._ends) > MAX_SESSIONS:
            del self._ends[next(iter(self._ends))]
        return session

    def is_open(self, connection: HTTPConnection) -> bool:
        """Whether a request carries the cookie of a session that has not ended."""
        return self._ends.get(connection.cookies.get(COOKIE, ""), 0.0) > time.monotonic()

    def close(self, connection: HTTPConnection) -> None:
        """End a request's session, whoever else has its cookie."""
        self._ends.pop(connection.cookies.get(COOKIE, ""), None)


def author(session: str) -> str:
    """A name for a session that says which it is and does not open it."""
    return hashlib.sha256(session.encode()).hexdigest()[:12]


class Guesses:
    """Counts wrong tokens, by address and in all, so that nobody tries many."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}
        self._all: deque[float] = deque(maxlen=MAX_ALL_GUESSES)

    def are_too_many(self, address: str) -> bool:
        """Whether within `GUESS_SECONDS` an address has given `MAX_GUESSES` wrong tokens, or all `MAX_ALL_GUESSES`."""
        since = time.monotonic() - GUESS_SECONDS
        recent = [at for at in self._times.get(address, []) if at > since]
        return len(recent) >= MAX_GUESSES or (len(self._all) == MAX_ALL_GUESSES and self._all[0] > since)

    def add(self, address: str) -> None:
        """Note a wrong token."""
        self._all.append(time.monotonic())
        self._times[address] = [*self._times.pop(address, []), time.monotonic()][-MAX_GUESSES:]
        while len(self._times) > MAX_SESSIONS:
            del self._times[next(iter(self._times))]


def add_sign_in(service: FastAPI, token: str, sessions: Sessions) -> None:
    """Add the form that takes the token, and the way out."""
    guesses = Guesses()

    @service.get(LOGIN, include_in_schema=False)
    def form() -> HTMLResponse:
        return HTMLResponse(_FORM.format(message=""))

    @service.post(LOGIN, include_in_schema=False)
    async def sign_in(request: Request) -> Response:
        address = request.client.host if request.client else ""
        if guesses.are_too_many(address):
            message = "Too many wrong tokens; wait a minute."
            return HTMLResponse(_FORM.format(message=message), 429, {"Retry-After": str(GUESS_SECONDS)})
        body = await body_within(request, MAX_FORM_BYTES)
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        if not same_secret(given, token):
            guesses.add(address)
            return HTMLResponse(_FORM.format(message="That is not the token."), 401)
        response = RedirectResponse("/", 303)
        response.set_cookie(**cookie_values(request, sessions.open()))
        return response

    @service.get(LOGOUT, include_in_schema=False)
    def sign_out(request: Request) -> Response:
        sessions.close(request)
        response = RedirectResponse(LOGIN, 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response


def cookie_values(connection: HTTPConnection, session: str) -> dict[str, Any]:
    """What `Response.set_cookie` takes. Behind TLS, also where only a proxy says so, the cookie travels only there."""
    tls = "https" in (connection.url.scheme, connection.headers.get("x-forwarded-proto", "").lower())
    return {"key": COOKIE, "value": session, "httponly": True, "samesite": "strict", "secure": tls}


_SOON = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="1">
<title>Starting</title><style>:root { color-scheme: light dark; font: 1.1rem system-ui, sans-serif }
body { min-height: 90vh; display: grid; place-items: center }</style><p>The page is starting.</p></html>"""


class PageSlot:
    """An ASGI application that stands for the page, also before it is there. With a `token`, a browser must sign in;
    without, whoever opens the page gets a session, and nobody changes anything who has none.
    """

    def __init__(self, build: Callable[[], FastAPI], token: str | None, sessions: Sessions) -> None:
        self._build, self._token, self._sessions = build, token, sessions
        self._page: ASGIApp | None = None
        self._stop = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = HTTPConnection(scope)
        known = self._sessions.is_open(connection)

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == HTTPStatus.OK:
                response = Response()
                response.set_cookie(**cookie_values(connection, self._sessions.open()))
                MutableHeaders(scope=message).append("set-cookie", response.headers["set-cookie"])
            await send(message)

        opens = scope["path"] == "/" and not known and not self._token
        await self._answering(connection, known)(scope, receive, send_with_cookie if opens else send)

    def _answering(self, connection: HTTPConnection, known: bool) -> ASGIApp:
        if self._token and not known:
            wants_page = "text/html" in connection.headers.get("accept", "")
            return RedirectResponse(LOGIN, 303) if wants_page else PlainTextResponse("sign in at /login", 401)
        if not known and connection.scope["method"] not in ("GET", "HEAD"):
            if not connection.scope["path"].startswith("/gradio_api/"):
                return PlainTextResponse("not found; /docs describes the API", 404)
            return PlainTextResponse("open the page again", 403)
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
