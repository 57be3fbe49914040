"""The web page in a real browser against the real service, with the shipped model and synthetic faces."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from benchmarks.serving import Server, serving
from src.synthetic.faces import draw_face

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOKEN = "for-this-test-only"  # noqa: S105
SIZES = [(390, 844), (1300, 900)]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH (Debian: apt install chromium)"),
]


@pytest.fixture(scope="module")
def corrections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corrections")


@pytest.fixture(scope="module")
def server(corrections: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    temporary = tmp_path_factory.mktemp("temporary")
    with serving("--corrections", str(corrections), HAPPY_SAD_TOKEN=TOKEN, TMPDIR=str(temporary)) as server:
        yield server
        server.process.kill()
        server.process.wait(10)
        assert list(temporary.iterdir()) == [], "nothing of an upload is left"


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("faces")
    files = [folder / f"<b>face{index}.png" for index in range(6)]
    for index, file in enumerate(files):
        Image.fromarray(draw_face(7, index, 240)[0]).save(file)
    return files


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that sees one synthetic face through its camera."""
    film = tmp_path_factory.mktemp("camera") / "face.y4m"
    face = Image.fromarray(draw_face(7, 3, 240)[0]).convert("YCbCr")
    light, *colors = (np.asarray(face.getchannel(name)) for name in range(3))
    frame = b"FRAME\n" + light.tobytes() + b"".join(color[::2, ::2].tobytes() for color in colors)
    film.write_bytes(b"YUV4MPEG2 W240 H240 F10:1 Ip A1:1 C420jpeg\n" + frame * 2)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--use-fake-ui-for-media-stream"]
    flags += ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}"]
    expect.set_options(timeout=20_000)  # also where other work keeps the cores busy
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(params=SIZES, ids=["phone", "desktop"])
def page(server: Server, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page after signing in; no error on its console, nothing from elsewhere, nothing wider than the window."""
    width, height = request.param
    context: BrowserContext = browser.new_context(viewport={"width": width, "height": height})
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda asked: problems.append(asked.url) if not asked.url.startswith(allowed) else None)
    allowed = (server.url, "data:", f"blob:{server.url}")
    page.goto(server.url)
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#drop")).to_be_visible()
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert problems == []
    context.close()


def test_several_images_are_answered_boxed_explained_and_corrected(
    page: Page, faces: list[Path], tmp_path: Path, corrections: Path
) -> None:
    (tmp_path / "bad.png").write_text("no image")
    page.set_input_files("#files", [*faces, tmp_path / "bad.png"])
    expect(page.locator("#gallery button")).to_have_count(6)
    expect(page.locator("#status")).to_contain_text("bad.png: unreadable")
    certainty = [int(re.sub(r"\D", "", text)) for text in page.locator("#gallery button").all_inner_texts()]
    assert certainty == sorted(certainty)
    page.locator("#gallery button").nth(2).click()
    expect(page.locator("#answer")).to_contain_text("likely")
    expect(page.locator("#answer .name")).to_contain_text("<b>face")
    expect(page.locator("#evidence")).to_have_attribute("src", re.compile("^data:image/jpeg"))
    expect(page.locator("#detail .boxes rect")).to_have_count(1)
    page.click("#correct button[value=happy]")
    expect(page.locator("#kept")).to_contain_text("Kept as happy")
    with (corrections / "manifest.csv").open() as file:
        assert "happy" in {row["label"] for row in csv.DictReader(file)}


def test_the_keyboard_alone_is_enough_and_pasted_or_dropped_files_count(page: Page, faces: list[Path]) -> None:
    page.locator("#files").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "camera"
    for event in ("paste", "drop"):
        page.evaluate(
            """async ([event, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], event + ".png", { type: "image/png" }));
                const options = { bubbles: true, clipboardData: data, dataTransfer: data };
                const kind = event === "paste" ? ClipboardEvent : DragEvent;
                document.dispatchEvent(new kind(event, options));
            }""",
            [event, list(faces[0].read_bytes())],
        )
        expect(page.locator("#answer .name")).to_have_text(f"{event}.png")
    page.locator("#correct button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#kept")).to_contain_text("Kept as sad")


def test_the_camera_shows_boxes_and_a_moving_answer(page: Page) -> None:
    page.click("#camera")
    expect(page.locator("#live-answer strong")).to_have_text(re.compile("happy|sad"))
    expect(page.locator("#live .boxes rect")).to_have_count(1)
    page.click("#camera")
    expect(page.locator("#live")).to_be_hidden()


def test_the_card_and_the_api_are_one_click_away_and_leaving_ends_it(page: Page, server: Server) -> None:
    page.click("text=Model card")
    expect(page.locator("h1")).to_contain_text("Model card")
    page.goto(f"{server.url}/docs")
    expect(page.locator("pre").first).to_contain_text("curl")
    page.goto(f"{server.url}/logout")
    expect(page.locator("#token")).to_be_visible()
