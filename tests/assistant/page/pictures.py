"""Pictures of the page for the README, of a service that runs on the sample company's workspace.

make demo && make serve
.venv/bin/python -m tests.assistant.page.pictures http://127.0.0.1:8000
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

DOCS = Path(__file__).parents[3] / "docs"
QUESTION = "What do I tighten the gearbox screws on the Wimble 280 to after changing the seal?"
PATIENCE_MS = 600_000  # four answers of a model on a busy machine


def ask(page: Page, mode: str, answers: int) -> None:
    page.locator(f"input[name=mode][value={mode}]").check()
    page.locator("#question").fill(QUESTION)
    page.locator("#send").click()
    expect(page.locator(".feedback")).to_have_count(answers, timeout=PATIENCE_MS)
    page.locator("#question").blur()


def take(page: Page, name: str, *, whole: bool = True) -> None:
    """Write the picture with as many colours as it needs: a tenth of the size."""
    picture = Image.open(io.BytesIO(page.screenshot(full_page=whole))).convert("RGB")
    picture.quantize(128).save(DOCS / name, optimize=True)


def main(url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme="light")
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url)
        page.locator("body[data-ready]").wait_for()
        ask(page, "combined", 1)
        take(page, "page.png")
        page.locator(".marker").first.click()
        page.locator("mark").wait_for()
        page.wait_for_timeout(400)  # the sheet slides in
        take(page, "page-source.png", whole=False)
        page.keyboard.press("Escape")
        page.locator("#anew").click()
        ask(page, "all", 4)
        take(page, "page-compare.png")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
