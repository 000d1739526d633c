"""What a user does on the page, in a real browser."""

import json
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from assistant.access import OWNER
from assistant.feedback import Feedback
from tests.assistant.page.conftest import (
    COLLAR,
    COVER,
    HOSTILE,
    NARROW,
    QUESTION,
    Open,
    Site,
    ask,
    choose,
)


def rated(site: Site) -> list[dict[str, Any]]:
    feedback = Feedback(site.workspace.registry.engine, keep_answers=1000, keep_days=30)
    return feedback.list(OWNER)


def rows(page: Page, title: str) -> Locator:
    return page.locator("#documents li").filter(has_text=title)


def test_an_answer_grows_word_by_word_and_is_announced_when_whole(
    page: Page, tuned_site: Site
) -> None:
    tuned_site.engine.go.clear()
    choose(page, "rag")
    page.get_by_label("What would you like to know?").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    said = page.locator(".said")
    expect(said).to_have_attribute("aria-busy", "true")
    expect(said).to_have_attribute("aria-live", "polite")
    expect(said).to_have_text("The two latch")
    expect(page.get_by_role("status").filter(has_text="Reading")).to_be_visible()
    tuned_site.engine.go.set()
    expect(said).to_contain_text(COVER)
    expect(said).to_have_attribute("aria-busy", "false")


def test_a_marker_opens_its_document_at_the_quoted_words(page: Page) -> None:
    ask(page)
    marker = page.get_by_role("button", name="Source 1: Sculpin 14")
    marker.click()
    reader = page.get_by_role("dialog", name="Sculpin 14")
    expect(reader.locator("mark")).to_have_text(COVER)
    expect(reader.locator("mark")).to_be_in_viewport()
    expect(reader.locator("#reader-place")).to_have_text("sculpin.md · Cover")
    expect(reader).to_contain_text("It moves water.")
    page.keyboard.press("Escape")
    expect(reader).to_be_hidden()
    expect(marker).to_be_focused()


def test_a_quote_of_a_pdf_stands_on_its_page(page: Page) -> None:
    ask(page, "How firmly is the retaining collar of the Anvil 240 tightened?")
    page.locator(".marker").first.click()
    reader = page.get_by_role("dialog")
    expect(reader.locator("mark")).to_have_text(COLLAR)
    expect(reader.locator("#reader-place")).to_contain_text("page 2")
    assert reader.locator(".leaf").all_inner_texts() == ["Page 1", "Page 2"]


def test_a_follow_up_is_asked_with_what_was_said_before(page: Page, tuned_site: Site) -> None:
    ask(page)
    question = page.get_by_label("What would you like to know?")
    expect(question).to_have_value("")
    [first] = page.get_by_role("article").all()
    expect(first.locator(".asked")).to_have_text(QUESTION)
    ask(page, "And the retaining collar of the Anvil 240?")
    assert [m.content for m in tuned_site.engine.requests[-1].messages][2] == f"{COVER} [1]"
    articles = page.get_by_role("article")
    expect(articles).to_have_count(2)
    expect(articles.nth(0)).to_contain_text(COLLAR)  # the newest stands first
    earlier = page.get_by_role("region", name="Earlier in this conversation")
    expect(earlier.get_by_role("article")).to_have_count(1)
    expect(earlier).to_contain_text(COVER)
    earlier.get_by_role("button", name="Not right").click()  # and can still be corrected
    expect(earlier.get_by_text("Thank you, noted.")).to_be_visible()


def test_a_new_conversation_knows_nothing_of_the_one_before(page: Page, tuned_site: Site) -> None:
    expect(page.get_by_role("button", name="New conversation")).to_be_hidden()
    ask(page)
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_role("article")).to_have_count(0)
    expect(page.get_by_label("What would you like to know?")).to_be_focused()
    expect(page.get_by_role("button", name="New conversation")).to_be_hidden()
    ask(page)
    roles = [message.role for message in tuned_site.engine.requests[-1].messages]
    assert roles == ["system", "user"]


def test_an_answer_that_was_stopped_is_no_turn_of_the_conversation(
    page: Page, tuned_site: Site
) -> None:
    tuned_site.engine.go.clear()
    choose(page, "rag")
    question = page.get_by_label("What would you like to know?")
    question.fill(QUESTION)
    page.keyboard.press("Enter")
    expect(page.locator(".said")).to_have_text("The two latch")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped: not a whole answer")).to_be_visible()
    expect(question).to_have_value(QUESTION)
    tuned_site.engine.go.set()
    ask(page)
    expect(page.get_by_role("article")).to_have_count(1)
    assert len(tuned_site.engine.requests[-1].messages) == 2


def test_a_comparison_knows_the_conversation_and_is_no_part_of_it(
    page: Page, tuned_site: Site
) -> None:
    ask(page)
    asked = len(tuned_site.engine.requests)
    ask(page, "And the retaining collar of the Anvil 240?", mode="all")
    expect(page.get_by_role("status").filter(has_text="not part of")).to_be_visible()
    four = tuned_site.engine.requests[asked:]
    assert [[m.role for m in request.messages] for request in four] == [
        ["system", "user", "assistant", "user"]
    ] * 4
    ask(page, "And the Sculpin 14?")
    assert len(tuned_site.engine.requests[-1].messages) == 4
    earlier = page.get_by_role("region", name="Earlier in this conversation")
    expect(earlier.get_by_role("article")).to_have_count(1)


def test_a_conversation_over_the_window_says_what_was_left_out(page: Page) -> None:
    ask(page)
    bodies: list[Any] = []

    def shorten(route: Route) -> None:
        bodies.append(route.request.post_data_json)
        answer = route.fetch()
        text = answer.text().replace('"history_dropped": 0', '"history_dropped": 1')
        route.fulfill(response=answer, body=text)

    page.route("**/api/ask", shorten)
    answer = ask(page).first
    assert bodies[0]["forget"] is True
    assert len(bodies[0]["history"]) == 1
    expect(answer).to_contain_text("1 earlier turn did not fit")


def test_the_adapter_that_was_chosen_is_shown_with_the_reason(page: Page, tuned_site: Site) -> None:
    rows = tuned_site.workspace.home / "datasets" / "house-rows"
    rows.mkdir(parents=True)
    row = {"messages": [{"role": "user", "content": f"Question: {QUESTION}"}]}
    (rows / "train.jsonl").write_text(json.dumps(row), encoding="utf-8")
    choose(page, "combined")
    page.get_by_label("Adapter").select_option("the one the question is for")
    answer = ask(page, mode="combined").first
    expect(answer).to_contain_text("house:v1 answers: its training questions are nearest")
    expect(answer.locator(".figures")).to_contain_text("adapter house:v1")
    page.get_by_role("button", name="New conversation").click()
    answer = ask(page, "Which flour for brown bread?", mode="combined").first
    expect(answer).to_contain_text("No adapter answers: the nearest, house:v1")
    expect(answer.locator(".figures")).not_to_contain_text("adapter house:v1")


def test_four_arms_answer_one_question_side_by_side(open_page: Open) -> None:
    page = open_page()
    four = ask(page, mode="all")
    expect(page.get_by_role("status").filter(has_text="4 of 4")).to_be_visible()
    assert four.get_by_role("heading", level=2).all_inner_texts() == [
        "Base",
        "RAG",
        "Tuned",
        "Combined",
    ]
    expect(four.nth(0)).to_contain_text("It is 5 N.m.")
    expect(four.nth(0)).to_contain_text("Not checked against documents")
    expect(four.nth(1)).to_contain_text(COVER)
    expect(four.nth(2).get_by_role("listitem").first).to_have_text("Clear the cover.")
    expect(four.nth(3)).to_contain_text("adapter house:v1")
    places = [four.nth(n).bounding_box() or {} for n in range(4)]
    assert places[0]["y"] == places[1]["y"] < places[2]["y"] == places[3]["y"]
    page.set_viewport_size({"width": NARROW["width"], "height": NARROW["height"]})
    places = [four.nth(n).bounding_box() or {} for n in range(4)]
    assert len({place["x"] for place in places}) == 1


def test_without_an_adapter_the_tuned_arms_say_so(open_page: Open, keyed_site: Site) -> None:
    page = open_page(keyed_site)
    enter(page, keyed_site.key("admin"))
    expect(page.get_by_role("radio", name="Tuned in your style")).to_be_disabled()
    expect(page.get_by_text("Tuned answers need an adapter")).to_be_visible()
    four = ask(page, mode="all")
    expect(page.get_by_role("status").filter(has_text="2 of 2")).to_be_visible()
    expect(four.nth(3)).to_contain_text("There is no adapter yet")


def test_a_file_is_watched_until_it_can_be_asked_about(page: Page) -> None:
    page.get_by_role("link", name="Documents").click()
    text = b"# Smew 3\n\nThe gland of the Smew 3 is packed with grease.\n"
    transfer = page.evaluate_handle(
        "text => { const t = new DataTransfer(); t.items.add(new File([text], 'smew.md'));"
        " return t; }",
        text.decode(),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    expect(page.locator("#jobs li").first).to_contain_text("1 added: ready to be asked about.")
    expect(rows(page, "smew.md")).to_be_visible()
    page.reload()
    expect(page.locator("#jobs li").first).to_contain_text("1 added")
    page.get_by_role("link", name="Ask").click()
    answer = ask(page, "What is the gland of the Smew 3 packed with?")
    expect(answer.get_by_role("complementary")).to_contain_text("Smew 3")


def test_a_broken_file_is_named_with_the_reason(page: Page) -> None:
    page.get_by_role("link", name="Documents").click()
    files = [
        {"name": "broken.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7 nothing"},
        {"name": "teal.md", "mimeType": "text/markdown", "buffer": b"# Teal 5\n\nIt floats.\n"},
    ]
    page.locator("#files").set_input_files(files)  # type: ignore[arg-type]  # as it documents
    line = page.locator("#jobs li").first
    expect(line).to_contain_text("1 added")
    expect(line.get_by_role("alert")).to_contain_text("broken.pdf")


def test_an_answer_is_rated_and_corrected(page: Page, tuned_site: Site) -> None:
    ask(page)
    page.get_by_role("button", name="Right", exact=True).click()
    expect(page.get_by_text("Thank you, noted.")).to_be_visible()
    assert rated(tuned_site)[0]["rating"] == "up"
    page.get_by_role("button", name="Not right").click()
    words = page.get_by_label("What should it have said?")
    expect(words).to_be_focused()
    words.fill("2.2 N.m, since <b>May</b>.")
    page.get_by_label("Anything else?").fill("old table")
    page.get_by_role("button", name="Send the correction").click()
    expect(page.get_by_text("the correction is kept")).to_be_visible()
    [opinion, *_] = rated(tuned_site)
    assert (opinion["rating"], opinion["correction"], opinion["comment"]) == (
        "down",
        "2.2 N.m, since <b>May</b>.",
        "old table",
    )
    assert opinion["question"] == QUESTION


def test_a_document_is_deleted_only_when_that_is_confirmed(page: Page) -> None:
    page.get_by_role("link", name="Documents").click()
    file = {"name": "gone.md", "mimeType": "text/plain", "buffer": b"# Gone 1\n\nIt goes.\n"}
    page.locator("#files").set_input_files([file])  # type: ignore[list-item]
    delete = page.get_by_role("button", name="Delete Gone 1")
    delete.click()
    page.get_by_role("button", name="Keep it").click()
    expect(rows(page, "gone.md")).to_be_visible()
    delete.click()
    page.get_by_role("button", name="Delete it").click()
    expect(rows(page, "gone.md")).to_have_count(0)
    expect(page.get_by_role("status").filter(has_text="Deleted: Gone 1.")).to_be_visible()


def enter(page: Page, key: str) -> None:
    dialog = page.get_by_role("dialog", name="This service asks for an access key")
    dialog.get_by_label("Access key", exact=True).fill(key)
    page.keyboard.press("Enter")


def test_the_key_is_asked_for_and_stays_in_the_tab(open_page: Open, keyed_site: Site) -> None:
    page = open_page(keyed_site)
    enter(page, "gt_wrong")
    expect(page.get_by_text("This access key opens nothing.")).to_be_visible()
    key = keyed_site.key("ask")
    enter(page, key)
    expect(page.locator("body[data-ready]")).to_be_visible()
    expect(ask(page)).to_contain_text(COVER)
    page.reload()
    expect(page.locator("body[data-ready]")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert key not in page.url
    assert page.evaluate("document.cookie + JSON.stringify(localStorage)") == "{}"
    page.get_by_role("button", name="Forget the key").click()
    expect(page.get_by_label("Access key", exact=True)).to_be_visible()


def test_a_key_that_is_refused_leaves_the_reason_on_the_page(
    open_page: Open, keyed_site: Site
) -> None:
    page = open_page(keyed_site)
    page.get_by_role("button", name="Not now").click()
    expect(page.get_by_role("alert").first).to_contain_text("groundtune keys create")


def test_a_key_that_may_only_ask_is_offered_no_upload(open_page: Open, keyed_site: Site) -> None:
    page = open_page(keyed_site, "/#documents")
    enter(page, keyed_site.key("ask"))
    expect(page.get_by_text("This key may read documents, not add or delete any.")).to_be_visible()
    expect(page.locator("#drop")).to_be_hidden()
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)


def test_an_answer_that_breaks_off_is_no_answer(page: Page, tuned_site: Site) -> None:
    tuned_site.engine.falls = True
    try:
        choose(page, "rag")
        page.get_by_label("What would you like to know?").fill(QUESTION)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("The model fell over.Pick it up.")
        expect(page.get_by_text("No answer", exact=True)).to_be_visible()
        expect(page.locator(".said")).not_to_contain_text("The two latch")
    finally:
        tuned_site.engine.falls = False


def test_what_is_wrong_with_a_question_is_said_with_its_remedy(page: Page) -> None:
    page.get_by_label("What would you like to know?").fill("x" * 8001)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("the limit is 8000")
    expect(page.get_by_role("alert")).to_contain_text("Ask a shorter one")


def test_a_service_that_is_gone_is_called_that(page: Page) -> None:
    page.route("**/api/ask", lambda route: route.abort())
    page.get_by_label("What would you like to know?").fill(QUESTION)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer.")


@pytest.mark.parametrize("headers", [{"Retry-After": "7"}])
def test_a_full_queue_says_when_to_come_back(page: Page, headers: dict[str, str]) -> None:
    body = '{"error": {"code": "engine_unavailable", "message": "There is no room.", "hint": ""}}'
    page.route("**/api/ask", lambda route: route.fulfill(status=503, headers=headers, body=body))
    page.get_by_label("What would you like to know?").fill(QUESTION)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("There is no room.Try again in 7 s.")


def test_everything_goes_by_keyboard_alone(page: Page, tuned_site: Site) -> None:
    press = page.keyboard.press
    expect(page.get_by_label("What would you like to know?")).to_be_focused()
    press("Tab")
    expect(page.get_by_role("radio", name="Combined tuned, with documents")).to_be_focused()
    press("ArrowLeft")
    press("ArrowLeft")
    expect(page.get_by_role("radio", name="RAG with your documents")).to_be_checked()
    press("Shift+Tab")
    page.keyboard.type(QUESTION)
    tuned_site.engine.go.clear()
    press("Enter")
    expect(page.locator(".said")).to_have_text("The two latch")
    press("Escape")
    expect(page.get_by_text("Stopped: not a whole answer")).to_be_visible()
    tuned_site.engine.go.set()
    press("Enter")
    marker = page.get_by_role("button", name="Source 1: Sculpin 14")
    expect(marker).to_be_visible()
    for _ in range(4):
        press("Tab")
        if marker.evaluate("it => it === document.activeElement"):
            break
    expect(marker).to_be_focused()
    press("Enter")
    expect(page.get_by_role("region", name="Text of the document")).to_be_focused()
    press("Escape")
    expect(marker).to_be_focused()


def test_names_and_words_of_documents_are_text_and_never_markup(page: Page) -> None:
    answer = ask(page, "How is the hasp of the Grebe 9?")
    expect(answer).to_contain_text(HOSTILE)
    page.locator(".source").first.click()
    expect(page.get_by_role("dialog")).to_contain_text(HOSTILE)
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Documents").click()
    expect(rows(page, HOSTILE)).to_be_visible()
    assert page.locator("main img, dialog img").count() == 0
    assert page.title() == "Documents · Groundtune"
