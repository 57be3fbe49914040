"""Downloads against a real local server that breaks off, lies, rejects and dawdles."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from src.config import SourceConfig
from src.data.sources import download
from src.data.sources.download import fetch, source_path
from src.errors import DataError

CONTENT = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; the path says what goes wrong."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.breaks = 1
        self.stopping = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        behavior = self.path.strip("/").partition(".")[0]
        self.server.ranges.append(self.headers.get("Range"))
        if behavior.isdecimal():
            self.send_error(int(behavior))
            return
        start = self._start()
        body = CONTENT[start:] if behavior != "wrong" else b"x" * 1000
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if behavior == "breaks" and self.server.breaks:
            self.server.breaks -= 1
            self.wfile.write(body[:2_000_000])
            return
        for place in range(0, len(body), 1_000_000):
            if behavior == "stalls" and self.server.stopping.wait(3):
                return
            self.wfile.write(body[place : place + 1_000_000])

    def _start(self) -> int:
        wanted = self.headers.get("Range")
        if wanted is None or self.path.startswith("/norange"):
            self.send_response(200)
            return 0
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        return start

    def log_message(self, *arguments: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.stopping.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_fetched_once_and_kept(server: Server, tmp_path: Path) -> None:
    first, second = (fetch(server.url("data.zip"), SHA256, tmp_path) for _ in range(2))
    assert first == second
    assert first.read_bytes() == CONTENT
    assert first.name.endswith("data.zip")
    assert len(server.ranges) == 1


def test_a_broken_download_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run again to go on"):
        fetch(server.url("breaks.zip"), SHA256, tmp_path)
    assert not list(tmp_path.glob("*.zip"))
    assert fetch(server.url("breaks.zip"), SHA256, tmp_path).read_bytes() == CONTENT
    first, second = server.ranges
    assert first is None
    assert second is not None
    assert 1_900_000 < int(second.removeprefix("bytes=").rstrip("-")) <= 2_000_000


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SHA256[:12]}-norange.zip.part").write_bytes(b"old start")
    assert fetch(server.url("norange.zip"), SHA256, tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_keeps_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not the file that"):
        fetch(server.url("wrong.zip"), SHA256, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


def test_a_stalled_server_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_SECONDS_WITHOUT_DATA", 0.5)
    with pytest.raises(DataError, match=r"no data for 0\.5 s"):
        fetch(server.url("stalls.zip"), SHA256, tmp_path)


def test_an_error_of_the_server_is_named(server: Server, tmp_path: Path) -> None:
    for url, reason in ((server.url("404.zip"), "the server answers 404"), ("http://127.0.0.1:9/", ".*refused")):
        with pytest.raises(DataError, match=f"cannot be fetched: {reason}") as caught:
            fetch(url, SHA256, tmp_path)
        assert "\n" not in str(caught.value)


def test_a_url_needs_its_checksum() -> None:
    with pytest.raises(DataError, match="sha256 must say"):
        source_path(SourceConfig(name="far", source="folder", url="http://127.0.0.1:9/data.zip"))
