"""What stands before every request: which hosts and origins it may name, and the headers that every answer carries."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Those of the API, the sign-in form and the description; the page replaces the policy by its own."""


class Protection:
    """ASGI middleware. A name in `Host` that is none of `hosts` gets 421, a request from another origin 403.

    Addresses and `localhost` are always good: a name that an attacker points at this machine (DNS rebinding) is
    neither. `hosts` None takes any name, which is safe behind a token, as a browser's cookie is for one name only.
    """

    def __init__(self, service: ASGIApp, hosts: Collection[str] | None) -> None:
        self._service = service
        self._hosts = None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._service(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        rejected = self._rejection(Headers(scope=scope))
        await (rejected or self._service)(scope, receive, send_guarded)

    def _rejection(self, headers: Headers) -> ASGIApp | None:
        host = headers.get("host", "")
        if self._hosts is not None and not (_is_local(host) or _name(host) in self._hosts):
            return PlainTextResponse("not a name of this service; --allowed-host NAME adds it", 421)
        origin = headers.get("origin")
        foreign = origin is not None and _place(origin) != host.lower()
        if foreign or (headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"):
            return PlainTextResponse("asked by another site", 403)
        return None


def _place(origin: str) -> str | None:
    """Host and port of an origin; None for what is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _name(host: str) -> str:
    """A host without its port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_local(host: str) -> bool:
    name = _name(host)
    try:
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False
