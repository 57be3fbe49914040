"""The service as a process of its own: how it starts, and how it stops."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import httpx
import pytest
from PIL import Image

from benchmarks.serving import serving
from tests.trained_model import image_bytes

TOKEN = "for-this-test-only"  # noqa: S105


def test_a_request_under_way_is_answered_before_the_service_stops(image: Callable[[int], Image.Image]) -> None:
    body = image_bytes(image(0), "PNG")
    lines = ("POST /v1/predict HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", "Connection: close")
    head = "\r\n".join((*lines, "", "")).encode()
    with serving("--no-page") as server:
        assert httpx.get(f"{server.url}/").status_code == 404
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(head + body[:100])
            httpx.get(f"{server.url}/healthz")  # by now the first request is being read
            server.process.send_signal(signal.SIGTERM)
            _wait_until_closed(server.port)
            connection.sendall(body[100:])
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"verdict":"ok"' in answer
        assert server.process.wait(8) == 0


def _wait_until_closed(port: int) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.02)
    pytest.fail("the service goes on taking connections")


def test_a_port_that_is_taken_is_one_line(run_command: Callable[..., CompletedProcess[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run_command("src.serve", "--no-page", "--port", str(taken.getsockname()[1]))
    assert result.returncode == 2
    assert "Address already in use" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.integration
def test_the_api_keeps_what_its_description_promises(tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(
        "[checks.positive_data_acceptance]\nexpected-statuses = ['2xx', '400', '401', '403', '413']\n"
    )
    with serving("--corrections", str(tmp_path / "corrections"), HAPPY_SAD_TOKEN=TOKEN) as server:
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json"]
        options = ["--max-examples", "25", "--seed", "1", "--no-color", "-H", f"Authorization: Bearer {TOKEN}"]
        result = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
        )
    assert result.returncode == 0, result.stdout[-4000:]
    assert "Tested: 6" in result.stdout
