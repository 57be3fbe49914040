"""Access to the service: a bearer token, or the cookie of a browser that signed in or opened the page."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import deque
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response

from .uploads import body_within

_BEARER = HTTPBearer(auto_error=False)
COOKIE = "happy_sad_page"
LOGIN, LOGOUT = "/login", "/logout"
SESSION_SECONDS, MAX_SESSIONS = 12 * 3600, 10_000
MAX_GUESSES, GUESS_SECONDS = 5, 60
MAX_ALL_GUESSES = 60
"""From all addresses together: a proxy's headers, which name an address, can be made up."""

MAX_FORM_BYTES = 10_000

_FORM = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="static/page.css">
<form class="sign-in" method="post"><h1>Sign in</h1>
<label for="token">The token that this service was started with</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<p class="error" role="alert">{message}</p><button>Sign in</button></form></html>"""


def same_secret(given: str, expected: str) -> bool:
    """Compare two secrets in constant time."""
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
        """Return whether a request carries the cookie of a session that has not ended."""
        return self._ends.get(connection.cookies.get(COOKIE, ""), 0.0) > time.monotonic()

    def with_cookie(self, request: Request, response: HTMLResponse) -> HTMLResponse:
        """Return the response with the cookie of a new session, where the request has none that is open."""
        if not self.is_open(request):
            response.set_cookie(**cookie_values(request, self.open()))
        return response

    def author(self, request: Request) -> str:
        """Return a name for the request's session that does not open it. Raises HTTPException 403 without one."""
        if not self.is_open(request):
            raise HTTPException(403, "no session: open the page again")
        return hashlib.sha256(request.cookies[COOKIE].encode()).hexdigest()[:12]

    def close(self, connection: HTTPConnection) -> None:
        """End a request's session, whoever else has its cookie."""
        self._ends.pop(connection.cookies.get(COOKIE, ""), None)


class Guesses:
    """Counts wrong tokens, by address and in all, so that nobody tries many."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}
        self._all: deque[float] = deque(maxlen=MAX_ALL_GUESSES)

    def are_too_many(self, address: str) -> bool:
        """Return whether an address, or all of them, have given too many wrong tokens within `GUESS_SECONDS`."""
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


def guard(token: str, sessions: Sessions):  # type: ignore[no-untyped-def] # a FastAPI dependency
    """Return a dependency that asks for the bearer token or a signed-in browser's cookie, else raises 401."""

    def check(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        if given is not None and same_secret(given.credentials, token):
            return
        if not sessions.is_open(request):
            raise HTTPException(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})

    return check


def redirect_to_sign_in(request: Request, sessions: Sessions) -> None:
    """Raise HTTPException 303 to the form for a browser that has not signed in."""
    if not sessions.is_open(request):
        raise HTTPException(303, "sign in", {"Location": LOGIN})


def cookie_values(connection: HTTPConnection, session: str) -> dict[str, Any]:
    """Return the arguments of `Response.set_cookie`; behind TLS, or a proxy that says so, the cookie is secure."""
    tls = "https" in (connection.url.scheme, connection.headers.get("x-forwarded-proto", "").lower())
    return {"key": COOKIE, "value": session, "httponly": True, "samesite": "strict", "secure": tls}
