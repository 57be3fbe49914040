"""Running the service until it is told to stop: requests under way are answered, and the exit code is 0."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from ..errors import ConfigError

STOPPING_SECONDS = 10
"""Requests under way get this long."""

HEAD_SECONDS = 10
"""The head of a request has so long to come."""

MAX_CONNECTIONS = 500
BACKLOG = 2048


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type] # one of two classes, by what is installed
    """Closes a connection on which no whole request head comes in time; uvicorn waits for ever."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._end_wait()
        elif self._deadline is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_wait()
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
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, and end what would otherwise stay open as long as a browser shows the page."""
        if close := getattr(self._service.state, "close_streams", None):
            close()
        super().handle_exit(sig, frame)


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
