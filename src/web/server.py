"""Running the service until it is told to stop: requests under way are answered, and the exit code is 0."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import sys
from collections.abc import Collection
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from ..errors import ConfigError

STOPPING_SECONDS = 10
"""Requests under way get this long."""

HEAD_SECONDS = 10
"""The head of a request has so long to come."""

WRITE_SECONDS = 20
"""A peer that reads nothing of a response is cut off after so long."""

MAX_CONNECTIONS = 500
BACKLOG = 2048


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type] # one of two classes, by what is installed
    """Closes a connection whose peer sends no request head, or reads no response, in time; uvicorn waits for ever."""

    _deadline: asyncio.TimerHandle | None = None
    _write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._end_wait()
        elif self._deadline is None:
            self._wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_deadline = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_deadline is not None:
            self._write_deadline.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_wait()
        if self._write_deadline is not None:
            self._write_deadline.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _end_wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    def __init__(self, service: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                service,
                log_level="warning",
                timeout_graceful_shutdown=STOPPING_SECONDS,
                server_header=False,
                http=_Protocol,
                ws="none",
                limit_concurrency=MAX_CONNECTIONS,
            )
        )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that port 0 is known before it is printed. Raises ConfigError where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Asyncio sends without delay (TCP_NODELAY, 40 ms for a small answer) only where the protocol is named.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        raise ConfigError(f"--host {host} --port {port}: {error.strerror or error}") from None
    return listening


def run(service: FastAPI, listening: socket.socket) -> None:
    """Serve on the socket `listening` until SIGINT or SIGTERM, then exit with 0."""
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises the signal again when it is done
        signal.signal(number, lambda *_: sys.exit(0))
    _Server(service).run([listening])


HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""No script, style or image but our own, and those that the page makes itself."""


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
            return PlainTextResponse("host name not allowed; --allowed-host NAME adds it", 421)
        origin = headers.get("origin")
        foreign = origin is not None and _place(origin) != host.lower()
        if foreign or (headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"):
            return PlainTextResponse("cross-origin request refused", 403)
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
