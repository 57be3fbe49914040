"""Take the README's image of the page, `docs/page.png`: `python -m docs.page`. Needs Debian's chromium."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.serving import serving
from src.synthetic.faces import draw_face

SEED, FACE = 7, 6


def main() -> None:
    """Run as a command."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no chromium on the PATH")
    with tempfile.TemporaryDirectory() as folder, serving() as server, sync_playwright() as playwright:
        face = Path(folder, "face.png")
        Image.fromarray(draw_face(SEED, FACE, 480)[0]).save(face)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 960})
        page.goto(server.url)
        page.set_input_files("#files", face, timeout=60_000)
        page.wait_for_selector('#evidence[src^="data:"]')
        page.wait_for_timeout(500)
        image = Image.open(BytesIO(page.screenshot()))
        browser.close()
    target = Path(__file__).with_suffix(".png")
    image.convert("RGB").quantize(256).save(target, optimize=True)
    print(f"{target}: {os.path.getsize(target) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
