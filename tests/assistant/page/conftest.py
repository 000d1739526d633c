"""A real service with small parts, and one real browser in front of it."""

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fpdf import FPDF
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

from assistant.api.app import create_app
from assistant.engines.engine import Piece, Request
from assistant.keys import Keys
from eval.served import evaluate_served
from ingest.errors import EngineError
from ingest.files import Upload
from tests.assistant.api.conftest import listening, tuned
from tests.fakes import ScriptedEngine, SmallWorkspace, small_workspace

COVER = "The two latch screws of the Sculpin 14 cover are tightened to 2.1 N.m."
COLLAR = "The retaining collar of the Anvil 240 is tightened to 61 N.m."
# Letters outside the first plane: positions count them once, JavaScript twice.
PUMP = f"# Sculpin 14 \U0001f6b0\n\n\U0001f4a7\U0001f4a7 It moves water.\n\n## Cover\n\n{COVER}\n"
HOSTILE = "<img src=x onerror=document.title='hacked'>"
HOSTILE_TEXT = f"# {HOSTILE}\n\nThe hasp of the Grebe 9 is {HOSTILE} riveted.\n"
QUESTION = "How firmly do I tighten the latch screws of the Sculpin 14?"
WIDE = {"width": 1280, "height": 860}
PATIENCE_MS = 120_000
"""For what takes a moment where nothing else runs."""
NARROW = {"width": 360, "height": 740}


SAID = {
    "Sculpin 14": COVER,
    "Anvil 240": COLLAR,
    "Smew 3": "The gland of the Smew 3 is packed with grease.",
    "Grebe 9": f"The hasp of the Grebe 9 is {HOSTILE} riveted.",
}


def reply(request: Request) -> str:
    """Say the evidence's sentence about what the question names; without evidence, guess."""
    prompt = request.messages[-1].content
    asked = max(SAID, key=prompt.rfind)  # the question stands at the end
    said = SAID[asked] if SAID[asked] in prompt else "It is 5 N.m."
    if request.adapter is None:
        return said
    steps = ["Clear the cover.", "Tighten both screws."]
    return json.dumps({"answer": said, "steps": steps, "part_numbers": ["TF-1"], "sources": [1]})


class StagedEngine(ScriptedEngine):
    """Waits at the fourth word until it may go on, or falls over there."""

    def __init__(self) -> None:
        super().__init__(reply)
        self.go = threading.Event()
        self.go.set()
        self.falls = False

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        number = 0
        async for piece in super().stream(request):
            number += 1
            if number == 4:
                while not self.go.is_set():
                    await asyncio.sleep(0.01)
                if self.falls:
                    raise EngineError("The model fell over.", hint="Pick it up.")
            yield piece


class Site(NamedTuple):
    url: str
    workspace: SmallWorkspace
    engine: StagedEngine

    def key(self, *roles: str, collections: list[str] | None = None) -> str:
        keys = Keys(self.workspace.registry.engine)
        return keys.create("someone", roles=roles, collections=collections)[1]


def two_pages() -> bytes:
    pdf = FPDF()
    pdf.set_title("Bulletin 203")
    for text in ("It bores holes of any width.", COLLAR):
        pdf.add_page()
        pdf.set_font("Helvetica", size=12)
        pdf.multi_cell(0, 8, text)
    return bytes(pdf.output())


@contextmanager
def site_at(home: Path, **sections: dict[str, object]) -> Iterator[Site]:
    engine = StagedEngine()
    workspace = small_workspace(home, engine, **sections)
    files = {
        "sculpin.md": PUMP.encode(),
        "anvil.pdf": two_pages(),
        f"{HOSTILE.replace('/', '')}.md": HOSTILE_TEXT.encode(),
    }
    uploads = [
        Upload(name, None, lambda content=content: content) for name, content in files.items()
    ]
    workspace.pipeline.run(uploads, collection="default")
    with listening(create_app(workspace, evaluate=lambda: evaluate_served)) as url:
        yield Site(url, workspace, engine)


@pytest.fixture(scope="session")
def tuned_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("site")
    with site_at(home) as site:
        tuned(site.workspace, "house:v1")
        folder = site.workspace.adapters.folder / "house" / "v1"
        (folder / "lora.gguf").write_bytes(b"GGUF")
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        manifest["dataset"] = {"name": "house-rows", "sha256": "rows"}
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        yield site


@pytest.fixture(scope="session")
def keyed_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Asks for a key, and has no adapter."""
    with site_at(tmp_path_factory.mktemp("keyed"), security={"require_key": True}) as site:
        yield site


# Not for the whole session: while Playwright runs, this thread has a loop of its own, and tests
# that start another one would fail.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None:
        pytest.skip("no chromium: .ci/packages installs it (apt-get install chromium)")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # Without a sandbox of its own, so that it runs as root in a container; it loads our page.
        browser = playwright.chromium.launch(
            executable_path=binary, args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, tuned_site: Site) -> Iterator[Open]:
    """Opens the page in a browser that knows nothing; fails where a policy or a script does."""
    faults: list[str] = []
    contexts = []

    def note(message: ConsoleMessage) -> None:
        # A refused request is told to the user, and by the browser to its console as well.
        if message.type == "error" and "Failed to load resource" not in message.text:
            faults.append(message.text)

    def start(site: Site = tuned_site, path: str = "/", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": WIDE, **options})
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(site.url + path)
        return page

    yield start
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def page(open_page: Open) -> Page:
    page = open_page()
    expect(page.locator("body[data-ready]")).to_be_visible()
    return page


def choose(page: Page, mode: str) -> None:
    page.locator(f"input[name=mode][value={mode}]").check()


def ask(page: Page, question: str = QUESTION, mode: str = "rag") -> Locator:
    """Ask, and return the answer's article when it is whole."""
    choose(page, mode)
    page.get_by_label("What would you like to know?").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="nswered")).to_be_visible()
    return page.get_by_role("article")
