"""What one browser, or many, can take of the page: time, places, connections and the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from src.web import page_guard, page_uploads
from src.web.page_guard import PageGuard

JOIN, UPLOAD, STREAM = "/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/heartbeat/abc"


async def keeping(scope: Scope, receive: Receive, send: Send) -> None:
    """A page that reads a whole body, as Gradio does with uploads, and answers."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"kept"})


async def status(guard: PageGuard, method: str, path: str, receive: Receive) -> int:
    """The status that the page answers with."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await guard({"type": "http", "method": method, "path": path, "headers": []}, receive, send)
    return int(sent[0]["status"])


def sender(chunk: bytes, seconds: float = 0.0, chunks: int | None = None) -> Callable[[], Awaitable[Message]]:
    """What sends a chunk every so many seconds, without end unless `chunks` says how many."""
    left = chunks

    async def receive() -> Message:
        nonlocal left
        await asyncio.sleep(seconds)
        left = None if left is None else left - 1
        return {"type": "http.request", "body": chunk, "more_body": left != 0}

    return receive


def test_an_event_that_drips_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_guard, "BODY_SECONDS", 0.1)
    guard = PageGuard(keeping, tmp_path)
    asked = asyncio.wait_for(status(guard, "POST", JOIN, sender(b" ", 0.02)), 10)
    assert asyncio.run(asked) == 408


@pytest.mark.parametrize(("values", "answer"), [(40_000, 200), (60_000, 400)])
def test_an_event_of_many_values_does_not_fill_the_memory(tmp_path: Path, values: int, answer: int) -> None:
    body = b'{"data": [' + b"[]," * (values // 2) + b"0]}"
    assert asyncio.run(status(PageGuard(keeping, tmp_path), "POST", JOIN, sender(body, chunks=1))) == answer


def test_an_upload_that_drips_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_uploads, "SECONDS", 0.1)
    guard = PageGuard(keeping, tmp_path)
    asked = asyncio.wait_for(status(guard, "POST", UPLOAD, sender(b"x", 0.02)), 10)
    assert asyncio.run(asked) == 408


def test_uploads_have_places_which_come_free_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_uploads, "MAX_AT_ONCE", 2)
    guard = PageGuard(keeping, tmp_path)

    async def four() -> list[int]:
        slow = [asyncio.create_task(status(guard, "POST", UPLOAD, sender(b"x", 0.1, 3))) for _ in range(2)]
        await asyncio.sleep(0.05)
        third = await status(guard, "POST", UPLOAD, sender(b"x", chunks=1))
        return [*await asyncio.gather(*slow), third, await status(guard, "POST", UPLOAD, sender(b"x", chunks=1))]

    assert asyncio.run(four()) == [200, 200, 503, 200]


@pytest.mark.parametrize("kept", [0, 950])
def test_uploads_do_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr(page_uploads, "MAX_BYTES", 1000)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "earlier.png").write_bytes(b"x" * kept)
    guard = PageGuard(keeping, tmp_path)
    assert asyncio.run(status(guard, "POST", UPLOAD, sender(b"x" * 40, chunks=1))) == 200
    endless = asyncio.wait_for(status(guard, "POST", UPLOAD, sender(b"x" * 40, 0.001)), 10)
    assert asyncio.run(endless) == 507


def test_pages_that_stay_open_leave_connections_to_the_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_guard, "MAX_STREAMS", 2)
    guard = PageGuard(keeping, tmp_path)

    async def four() -> list[int]:
        held = [asyncio.create_task(status(guard, "GET", STREAM, sender(b"", 0.1, 2))) for _ in range(2)]
        await asyncio.sleep(0.05)
        third = await status(guard, "GET", "/gradio_api/queue/data", sender(b"", chunks=1))
        return [*await asyncio.gather(*held), third, await status(guard, "GET", STREAM, sender(b"", chunks=1))]

    assert asyncio.run(four()) == [200, 200, 503, 200]
