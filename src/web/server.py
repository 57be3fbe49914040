"""Running the service until it is told to stop: requests under way are answered, and the exit code is 0."""

from __future__ import annotations

import signal
import socket
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

STOPPING_SECONDS = 10
"""Requests under way get this long."""


class _Server(uvicorn.Server):
    def __init__(self, service: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                service, log_level="warning", timeout_graceful_shutdown=STOPPING_SECONDS, server_header=False
            )
        )
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, and end what would otherwise stay open as long as a browser shows the page."""
        if close := getattr(self._service.state, "close_streams", None):
            close()
        super().handle_exit(sig, frame)


def run(service: FastAPI, listening: socket.socket) -> None:
    """Serve on the socket `listening` until SIGINT or SIGTERM, then exit with 0."""
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises the signal again when it is done
        signal.signal(number, lambda *_: sys.exit(0))
    _Server(service).run([listening])
