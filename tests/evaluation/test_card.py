import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from src.evaluation.card import card_html
from src.reports.pages import markdown_table

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
def test_on_a_phone_the_card_has_the_width_of_the_screen_and_intervals_are_whole(tmp_path: Path) -> None:
    scores = [["average precision", "0.608 [-0.248, 1.000]", "0.477 [-0.195, 0.858]"]]
    command = "    python -m src.train " + " ".join(f"dataset.value{number}=1" for number in range(20))
    card = f"{markdown_table(['score', 'validation', 'test'], scores)}\nMade by\n\n{command}\n"
    page = tmp_path / "card.html"
    page.write_text(card_html(card, {}), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 390, "height": 844}, is_mobile=True)
        phone = context.new_page()
        phone.goto(page.as_uri())
        assert phone.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        wide = "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).length"
        assert phone.locator(".scroll, pre").evaluate_all(wide) == 0
        assert phone.locator("td >> nth=1").inner_text() == "0.608 [-0.248,\N{NO-BREAK SPACE}1.000]"
        browser.close()
