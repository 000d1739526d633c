"""Evaluation reports on the page, and whether everybody can use it."""

import json
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.assistant.page.conftest import (
    COVER,
    NARROW,
    PATIENCE_MS,
    QUESTION,
    WIDE,
    Open,
    Site,
    ask,
)

LINES = [
    {"id": "a", "question": QUESTION, "facts": [["2.1 N.m"]], "documents": ["sculpin.md"]},
    {"id": "b", "question": f"{QUESTION} <script>document.title = 1</script>"},
]
REACH = "fetch('/api/documents').then(() => 'reached', () => 'refused')"


@pytest.fixture(scope="module")
def report(tuned_site: Site, browser: Any) -> str:
    """A report that was started on the page; its name."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(f"{tuned_site.url}/#evaluations")
    page.get_by_text("Start an evaluation").click()
    lines = "\n".join(json.dumps(line) for line in LINES)
    file = {"name": "questions.jsonl", "mimeType": "text/plain", "buffer": lines.encode()}
    page.get_by_label("Questions, a file of JSON lines").set_input_files([file])
    for arm in ("Tuned", "Combined", "RAG, worked examples", "RAG, held to the schema"):
        page.get_by_role("checkbox", name=arm).uncheck()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#evaluation-jobs")).to_contain_text("is ready")
    expect(page.locator("#reports li")).to_have_count(1)
    page.context.close()
    [folder] = (tuned_site.workspace.home / "reports").iterdir()
    return folder.name


def test_a_report_opens_in_a_sandbox_where_its_own_script_works(
    open_page: Open, report: str
) -> None:
    page = open_page(path="/#evaluations")
    page.locator("#reports button").first.click()
    frame = page.frame_locator("#report-frame")
    expect(frame.locator("#questions details")).to_have_count(2)
    frame.locator("#questions summary").first.click()
    expect(frame.locator("#questions")).to_contain_text(COVER)
    inside = page.frames[1]
    assert inside.evaluate("origin") == "null"
    with pytest.raises(Exception, match="SecurityError|sandboxed"):
        inside.evaluate("sessionStorage.length")
    page.get_by_role("button", name="Back to the list").click()
    expect(page.locator("#reports li")).to_have_count(1)


def test_a_report_reaches_nothing_wherever_it_is_opened(
    browser: Any, tuned_site: Site, report: str
) -> None:
    # Without the watch over the console: what is refused is told there.
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page: Page = context.new_page()
    page.goto(f"{tuned_site.url}/evaluations/{report}")
    expect(page.locator("#questions details")).to_have_count(2)
    assert page.evaluate("origin") == "null"
    assert page.evaluate(REACH) == "refused"
    page.evaluate(
        "it => { const s = document.createElement('script'); s.textContent = it;"
        " document.body.append(s); }",
        "document.title = 'mine'",
    )
    assert page.title() != "mine"
    page.goto(f"{tuned_site.url}/#evaluations")
    page.locator("#reports button").first.click()
    expect(page.frame_locator("#report-frame").locator("#questions details")).to_have_count(2)
    assert page.frames[1].evaluate(REACH) == "refused"
    page.context.close()


def test_a_wrong_line_of_questions_is_named(open_page: Open) -> None:
    page = open_page(path="/#evaluations")
    page.get_by_text("Start an evaluation").click()
    file = {"name": "mine.jsonl", "mimeType": "text/plain", "buffer": b'{"id": "a"}\n{"id"\n'}
    page.get_by_label("Questions, a file of JSON lines").set_input_files([file])  # type: ignore[list-item]
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Line 2 of mine.jsonl is not JSON.")
    file["buffer"] = b'{"id": "a"}\n'
    page.get_by_label("Questions, a file of JSON lines").set_input_files([file])  # type: ignore[list-item]
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert").first).to_contain_text("questions:1: question")


def check_all(page: Page, where: str) -> None:
    """Check what the page shows now in both colour schemes, wide and narrow."""
    for size in (NARROW, WIDE):
        page.set_viewport_size({"width": size["width"], "height": size["height"]})
        page.emulate_media(color_scheme="dark")
        check(page, where, "color-contrast")  # nothing else depends on the scheme
        page.emulate_media(color_scheme="light")
        check(page, where)


def check(page: Page, where: str, *rules: str) -> None:
    """No serious violation, and nothing to scroll for sideways."""
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = Axe().run(page, options=options).response["violations"]
    serious = [
        f"{one['id']}: {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert serious == [], where
    sizes = "[document.documentElement.scrollWidth, innerWidth]"
    width, window = page.evaluate(sizes)
    assert width <= window, where


def test_everybody_can_use_it(open_page: Open, report: str) -> None:
    page = open_page(reduced_motion="reduce")
    expect(page.locator("body[data-ready]")).to_be_visible()
    ask(page, mode="all")
    page.get_by_role("button", name="Not right").first.click()
    check_all(page, "four answers")
    ask(page)
    page.locator(".marker").first.click()
    expect(page.locator("mark")).to_be_visible()
    check_all(page, "reader")
    page.keyboard.press("Escape")
    ask(page)
    expect(page.get_by_role("article")).to_have_count(2)
    check_all(page, "conversation")
    page.route("**/api/ask", lambda route: route.abort())
    page.get_by_label("What would you like to know?").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("alert")).to_be_visible()
    check_all(page, "error")
    page.get_by_role("link", name="Documents").click()
    expect(page.locator("#documents li").first).to_be_visible()
    check_all(page, "documents")
    page.get_by_role("button", name="Delete").first.click()
    check_all(page, "question before a deletion")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Evaluations").click()
    page.get_by_text("Start an evaluation").click()
    expect(page.locator("#reports li")).to_have_count(1)
    check_all(page, "evaluations")
    page.get_by_role("link", name="API").click()
    expect(page.locator("section").first).to_be_visible()
    check_all(page, "API")


def test_the_key_dialog_can_be_used_by_everybody(open_page: Open, keyed_site: Site) -> None:
    page = open_page(keyed_site, viewport=NARROW, reduced_motion="reduce")
    expect(page.get_by_label("Access key", exact=True)).to_be_focused()
    check(page, "key")
