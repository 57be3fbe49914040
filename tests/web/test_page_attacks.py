"""Attacks on the page, tried against the running service with nothing but HTTP: each must get nothing."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from benchmarks.serving import Server, serving
from src.runtime.bundle import Bundle
from src.runtime.predictor import ImagePredictor
from src.synthetic.faces import draw_face
from src.web.corrections import Corrections
from src.web.page_answers import PageAnswers
from tests.trained_model import image_bytes

SECONDS = 60


@pytest.fixture(scope="module")
def corrections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corrections")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, corrections: Path) -> Iterator[Server]:
    """A service without a token, whose page has been made."""
    folder = tmp_path_factory.mktemp("service")
    with serving("--corrections", str(corrections), TMPDIR=str(folder)) as server:
        until = time.monotonic() + SECONDS
        while httpx.get(server.url).status_code != 200:
            assert time.monotonic() < until, "the page does not start"
            time.sleep(0.3)
        yield server


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """An image of the machine that nobody uploaded."""
    file = tmp_path / "secret.png"
    Image.fromarray(draw_face(7, 0, 128)[0]).save(file)
    return file


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A browser that has opened the page."""
    with httpx.Client(base_url=server.url, timeout=20) as client:
        client.get("/")
        yield client


def file_data(path: object, **values: object) -> dict[str, Any]:
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, **values}


def join(client: httpx.Client, data: list[Any], number: int, **values: object) -> str:
    """What the page's event with this number says of `data`: a rejection, or all that the queue sends for it."""
    body = {"data": data, "fn_index": number, "session_hash": f"attack{time.monotonic_ns()}", **values}
    joined = client.post("/gradio_api/queue/join", json=body)
    if joined.is_error:
        return f"rejected: {joined.status_code}"
    lines = []
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": body["session_hash"]}) as stream:
        for line in stream.iter_lines():
            lines.append(line)
            if '"process_completed"' in line or '"close_stream"' in line:
                break
    return "\n".join(lines)


def events(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/config").json()["dependencies"]
    return found


def drop_event(client: httpx.Client) -> int:
    """The number of the event that answers for dropped files."""
    return int(next(event["id"] for event in events(client) if [name for _, name in event["targets"]] == ["change"]))


def upload(client: httpx.Client, data: bytes, name: str = "face.png") -> str:
    (path,) = client.post("/gradio_api/upload", files={"files": (name, data)}).json()
    return str(path)


def test_what_was_uploaded_is_answered(client: httpx.Client, secret: Path) -> None:
    """What the attacks below do goes through where it is allowed: else they would prove nothing."""
    path = upload(client, secret.read_bytes())
    said = join(client, [[file_data(path, orig_name="face.png")]], drop_event(client))
    assert "sure" in said
    assert "happy" in said or "sad" in said


@pytest.mark.parametrize("kind", ["file", "link", "below", "url", "address"])
def test_a_image_of_the_machine_is_not_read(client: httpx.Client, secret: Path, tmp_path: Path, kind: str) -> None:
    inside = Path(upload(client, b"no image"))
    named = {
        "file": secret,
        "link": tmp_path / "link.png",
        "below": inside.parent / os.path.relpath(secret, inside.parent),
        "url": f"http://127.0.0.1:{client.base_url.port}/v1/model",
        "address": f"file://{secret}",
    }[kind]
    (tmp_path / "link.png").symlink_to(secret)
    for event in events(client):
        for data in ([[file_data(named)]], [file_data(named)], [file_data(named, url="data:image/png;base64,")]):
            said = join(client, data, event["id"])
            assert "rejected: 400" in said, (event["id"], said)
    said = join(client, [[], 0], drop_event(client), event_data={"value": file_data(named)})
    assert "rejected: 400" in said


def test_the_page_itself_opens_uploads_only(bundle: Bundle, secret: Path, tmp_path: Path) -> None:
    """Also where what stands before Gradio were passed by."""
    page = PageAnswers(
        ImagePredictor(bundle), Corrections(tmp_path / "corrections", bundle.class_names), tmp_path / "own"
    )
    (tmp_path / "own").mkdir()
    shutil.copy(secret, tmp_path / "own" / "face.png")
    os.mkfifo(tmp_path / "own" / "fifo.png")
    asked = [str(tmp_path / "own" / name) for name in ("face.png", "fifo.png", "../secret.png")]
    assert [answer.path for answer in page.answer([*asked, str(secret), "/dev/zero"])] == asked[:1]


@pytest.mark.parametrize("path", ["/dev/zero", "FIFO", "FOLDER"])
def test_what_is_no_regular_file_does_not_freeze_the_service(client: httpx.Client, tmp_path: Path, path: str) -> None:
    os.mkfifo(tmp_path / "FIFO")
    (tmp_path / "FOLDER").mkdir()
    named = path if path.startswith("/") else tmp_path / path
    assert "rejected: 400" in join(client, [[file_data(named)]], drop_event(client))
    assert client.get("/healthz").json() == {"status": "ok"}


def test_a_fifo_inside_the_upload_folder_is_not_opened(client: httpx.Client) -> None:
    fifo = Path(upload(client, b"no image")).with_name("fifo.png")
    os.mkfifo(fifo)
    assert "rejected: 400" in join(client, [[file_data(fifo)]], drop_event(client))
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"data": ' + b"[" * 100_000,
        b"\xff",
        b'{"data": [{"path": 5}]}',
        b'{"data": [{"path": {}}]}',
    ],
)
def test_odd_events_are_rejected(client: httpx.Client, body: bytes) -> None:
    joined = client.post("/gradio_api/queue/join", content=body, headers={"Content-Type": "application/json"})
    assert joined.status_code == 400


def test_an_event_of_any_size_is_not_read(client: httpx.Client) -> None:
    body = json.dumps({"data": ["x" * 20_000_000], "fn_index": 0, "session_hash": "x"}).encode()
    assert client.post("/gradio_api/queue/join", content=body).status_code == 413


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/run/drop"),
        ("POST", "/gradio_api/api/drop"),
        ("POST", "/gradio_api/call/drop"),
        ("POST", "/gradio_api/call/v2/drop"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/vibe-edit/"),
        ("GET", "/gradio_api/vibe-code/"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1:1/"),
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/deep_link"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/gradio_api/runs"),
    ],
)
def test_what_the_page_does_not_use_is_not_there(client: httpx.Client, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 404


@pytest.mark.parametrize("form", ["/gradio_api/file={}", "/gradio_api/file/{}", "/file={}", "/gradio_api/../file={}"])
def test_no_file_of_the_machine_is_served(client: httpx.Client, secret: Path, form: str) -> None:
    for file in (secret, Path("pyproject.toml").absolute(), "/etc/hostname"):
        assert client.get(form.format(file)).status_code in (403, 404)


def test_an_uploaded_page_is_not_shown_as_one(client: httpx.Client) -> None:
    for name in ("evil.html", "evil.svg", "evil.js"):
        path = upload(client, b"<script>alert(1)</script>", name)
        shown = client.get(f"/gradio_api/file={path}")
        assert shown.is_error or "attachment" in shown.headers["content-disposition"]


def test_images_kept_as_uploads_have_no_name_that_leads_elsewhere(client: httpx.Client, secret: Path) -> None:
    for name in ("../../../evil.png", "/etc/evil.png", "..", "a/../../b.png"):
        answer = client.post("/gradio_api/upload", files={"files": (name, image_bytes(Image.open(secret), "PNG"))})
        if answer.is_success:
            assert Path(answer.json()[0]).resolve() == Path(answer.json()[0])
            assert "/happy-sad-page-" in answer.json()[0]


def test_nobody_changes_anything_who_has_not_opened_the_page(server: Server, secret: Path) -> None:
    stranger = httpx.Client(base_url=server.url)
    assert stranger.post("/gradio_api/upload", files={"files": ("a.png", secret.read_bytes())}).status_code == 403
    stranger.cookies.set("happy_sad_page", "guessed")
    assert stranger.post("/gradio_api/queue/join", json={}).status_code == 403


def test_the_page_says_what_may_be_loaded_and_by_whom_it_is_framed(client: httpx.Client) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy


def correct(client: httpx.Client, data: bytes, label: str) -> str:
    """Drop an image and say what it shows, as one browser does."""
    session = f"correcting{time.monotonic_ns()}"
    join(client, [[file_data(upload(client, data))]], drop_event(client), session_hash=session)
    buttons = [event["id"] for event in events(client) if [name for _, name in event["targets"]] == ["click"]]
    return join(client, [label, None, None], buttons[0], session_hash=session)


def test_a_correction_is_not_flipped_by_another_browser(
    client: httpx.Client, server: Server, secret: Path, corrections: Path
) -> None:
    other = httpx.Client(base_url=server.url, timeout=20)
    other.get("/")
    data = secret.read_bytes()
    assert "Kept as happy. 1 corrected" in correct(client, data, "happy")
    assert "by someone else, which stands" in correct(other, data, "sad")
    assert "=cmd: no class" in correct(other, data, "=cmd")
    (row,) = csv.DictReader((corrections / "manifest.csv").open())
    assert row["label"] == "happy"
    history = [json.loads(line) for line in (corrections / "history.jsonl").read_text().splitlines()]
    assert [entry["label"] for entry in history] == ["happy", "sad"]
    assert len({entry["by"] for entry in history}) == 2
    assert all(entry["time"] for entry in history)
