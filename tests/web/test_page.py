"""The web page, driven in a real browser against the real service, with the shipped model and synthetic faces."""

from __future__ import annotations

import base64
import csv
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Request, ViewportSize, expect, sync_playwright

from benchmarks.serving import Server, serving
from src.runtime.bundle import Bundle
from src.runtime.outputs import percent
from src.runtime.predictor import Answer, ImagePredictor
from src.synthetic.faces import draw_face
from src.web.corrections import Corrections
from src.web.page_answers import PageAnswers
from src.web.server import STOPPING_SECONDS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOKEN = "for-this-test-only"  # noqa: S105
SECONDS = 20_000
PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1200, "height": 900}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def corrections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corrections")


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service keeps what is uploaded."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def server(corrections: Path, temporary: Path) -> Iterator[Server]:
    with serving("--corrections", str(corrections), HAPPY_SAD_TOKEN=TOKEN, TMPDIR=str(temporary)) as server:
        yield server


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("faces")
    files = [folder / f"face {index}.png" for index in range(8)]
    for index, file in enumerate(files):
        Image.fromarray(draw_face(7, index, 128)[0]).save(file)
    return files


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's camera sees: one synthetic face, as a film of two frames."""
    file = tmp_path_factory.mktemp("camera") / "face.y4m"
    face = Image.fromarray(draw_face(7, 3, 240)[0]).convert("YCbCr")
    light, *colors = (np.asarray(face.getchannel(name)) for name in range(3))
    frame = b"FRAME\n" + light.tobytes() + b"".join(color[::2, ::2].tobytes() for color in colors)
    file.write_bytes(b"YUV4MPEG2 W240 H240 F10:1 Ip A1:1 C420jpeg\n" + frame * 2)
    return file


@pytest.fixture(scope="module")
def browser(film: Path) -> Iterator[Browser]:
    flags = ["--no-sandbox", "--disable-dev-shm-usage", "--use-fake-ui-for-media-stream"]
    flags += ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}"]
    expect.set_options(timeout=SECONDS)  # also where other work keeps the cores busy
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def hosts() -> set[str]:
    """Every host that any page of this module asked for anything."""
    return set()


@pytest.fixture(scope="module")
def signed_in(browser: Browser, server: Server, hosts: set[str]) -> Iterator[BrowserContext]:
    """A browser's session, entered by the form, on a service whose page has been made."""
    context = browser.new_context(viewport=DESKTOP, permissions=["camera"])
    context.set_default_timeout(SECONDS)

    def note(request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")):
            hosts.add(httpx.URL(request.url).host)

    context.on("request", note)
    page = context.new_page()
    page.goto(server.url)
    expect(page).to_have_url(f"{server.url}/login")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That is not the token.")
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#drop")).to_be_visible(timeout=3 * SECONDS)  # until then it says that it starts
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(signed_in: BrowserContext, server: Server) -> Iterator[Page]:
    page = signed_in.new_page()
    page.goto(server.url)
    expect(page.locator("#drop")).to_be_visible()
    yield page
    page.close()


def said_by_the_api(server: Server, file: Path) -> str:
    """The answer as the page words it."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    body = httpx.post(f"{server.url}/v1/predict", content=file.read_bytes(), headers=headers, timeout=60)
    answer = body.json()["answers"][0]
    return f"{answer['label']} {percent(answer['confidence'])} likely" if answer["label"] else str(answer["verdict"])


def give(page: Page, *files: Path) -> None:
    page.set_input_files("#drop input[type=file]", files)


def tab_to(page: Page, selector: str) -> None:
    """Press the tabulator until what `selector` names has the focus."""
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"{selector} is not reached by keyboard")


def test_without_the_token_nothing_of_the_page_is_given(signed_in: BrowserContext, server: Server) -> None:
    for path in ("/", "/config", "/theme.css", "/gradio_api/info", "/gradio_api/heartbeat/x", "/gradio_api/upload"):
        assert httpx.get(server.url + path).status_code == 401
        assert httpx.get(server.url + path, cookies={"happy_sad_page": TOKEN}).status_code == 401
    assert httpx.get(f"{server.url}/gradio_api/file=README.md", headers={"Authorization": f"Bearer {TOKEN}"}).is_error


def test_a_dropped_image_gets_the_answer_of_the_api(page: Page, server: Server, faces: list[Path]) -> None:
    encoded = base64.b64encode(faces[0].read_bytes()).decode()
    dropped = page.evaluate_handle(
        """async ([data, name]) => {
            const blob = await (await fetch('data:image/png;base64,' + data)).blob();
            const transfer = new DataTransfer();
            transfer.items.add(new File([blob], name, {type: 'image/png'}));
            return transfer;
        }""",
        [encoded, faces[0].name],
    )
    page.locator("#drop button").first.dispatch_event("drop", {"dataTransfer": dropped})
    expect(page.locator("#answer")).to_contain_text(said_by_the_api(server, faces[0]))
    expect(page.locator("#answer")).to_contain_text(faces[0].name)
    for image in ("#upright img", "#evidence img"):
        expect(page.locator(image)).to_be_visible()


def test_a_correction_made_by_keyboard_is_kept(page: Page, faces: list[Path], corrections: Path) -> None:
    page.on("filechooser", lambda _: None)  # the browser hands choosers over a while after it is first asked to
    tab_to(page, "#drop button")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(faces[1])
    expect(page.locator("#evidence img")).to_be_visible()
    tab_to(page, "#correct-sad")
    page.keyboard.press("Enter")
    expect(page.locator("#kept")).to_contain_text("Kept as sad. 1 corrected so far")
    (row,) = csv.DictReader((corrections / "manifest.csv").open())
    assert row["label"] == "sad"
    assert (corrections / row["path"]).read_bytes() == faces[1].read_bytes()


def test_many_images_stand_least_sure_first_with_the_unsure_marked(
    page: Page, faces: list[Path], temporary: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(faces[0].read_bytes()[:500])
    give(page, *faces, broken)
    captions = page.locator("#gallery .caption-label")
    expect(captions).to_have_count(len(faces))
    texts = captions.all_inner_texts()
    shares = [int((re.findall(r"(\d+)%", text) or [0])[0]) for text in texts]  # none beside "unsure"
    assert shares == sorted(shares)
    assert [text.strip().startswith("?") for text in texts] == [share < 75 for share in shares]
    assert {True, False} == {share < 75 for share in shares}, "the synthetic faces must show both"
    expect(page.locator("#said")).to_contain_text("broken.png: no answer, unreadable: truncated")
    last = page.locator("#gallery .thumbnail-item").last
    last.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_contain_text(f"{shares[-1]}% likely")
    for file in temporary.rglob("face *.png"):  # as Gradio does after an hour
        file.unlink()
    page.locator("#gallery .thumbnail-item").first.click()
    expect(page.locator("#answer")).to_contain_text("unreadable: No such file")


def test_nobody_is_sent_to_look_at_marks_that_are_not_there(bundle: Bundle, tmp_path: Path) -> None:
    page = PageAnswers(ImagePredictor(bundle), Corrections(tmp_path, bundle.class_names), tmp_path)
    sure, unsure = (Answer("a.png", "happy", share, share, "ok", "m") for share in (0.99, 0.6))
    assert "the least sure first.<" in page.summary([sure, sure], 2)
    assert "Look at the 1 marked with ?." in page.summary([unsure, sure], 2)


def test_the_camera_is_answered_while_it_runs(page: Page) -> None:
    page.get_by_role("tab", name="Camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.locator("#camera button[aria-label='capture photo']").click()
    expect(page.locator("#live strong")).to_have_text(re.compile("happy|sad"))
    expect(page.locator("#live")).to_contain_text(re.compile(r"(happy|sad) \d+%"))


def test_a_phone_needs_no_sideways_scrolling(
    browser: Browser, signed_in: BrowserContext, server: Server, faces: list[Path]
) -> None:
    phone = browser.new_context(
        viewport=PHONE, is_mobile=True, has_touch=True, storage_state=signed_in.storage_state(), color_scheme="dark"
    )
    page = phone.new_page()
    page.goto(server.url)
    give(page, *faces)
    expect(page.locator("#evidence img")).to_be_visible(timeout=SECONDS)
    widest = "Math.max(innerWidth, document.documentElement.scrollWidth)"
    for tab, content in (("Images", "#gallery"), ("Camera", "#camera"), ("Model card", "#card table >> nth=0")):
        page.get_by_role("tab", name=tab).tap()
        expect(page.locator(content)).to_be_visible()
        assert page.evaluate(widest) == PHONE["width"], tab
    expect(page.locator("#card")).to_contain_text("Test accuracy")
    phone.close()


def test_nothing_leaves_the_machine(page: Page, server: Server, hosts: set[str]) -> None:
    """Stands after the others: it looks at what they asked for."""
    page.goto(f"{server.url}/docs")
    expect(page.locator("pre").first).to_contain_text(f"curl {server.url}/v1/predict")
    assert hosts == {"127.0.0.1"}
    connections = psutil.Process(server.process.pid).net_connections()
    assert {connection.raddr.ip for connection in connections if connection.raddr} <= {"127.0.0.1"}


def test_an_open_page_does_not_hold_up_the_end(page: Page, server: Server, temporary: Path) -> None:
    """Stands last: it stops the service. What was uploaded goes with it."""
    assert [file for file in temporary.rglob("face 0.png") if file.is_file()]
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(STOPPING_SECONDS - 1) == 0  # after those seconds it would break off any connection
    assert not list(temporary.rglob("*"))
