import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from assistant.answer import Answer, Ask
from eval.compare import compare
from eval.judged import Noise, summarise_judged
from eval.markdown import as_markdown
from eval.past import read_report
from eval.probe import agreement
from eval.question import Question
from eval.recipe import JudgeSettings
from eval.report import as_dict, as_html, write_report
from eval.result import Report
from eval.score import Score
from eval.summary import summarise

MODES: tuple[Any, ...] = ("base", "rag", "finetuned", "combined")
HOUSE = {"type": "object", "required": ["answer"]}
EVIL = '<script>alert("http://evil.example")</script>'


def script(ask: Ask) -> str:
    """Facts come from retrieval, format from tuning; one question breaks one arm."""
    if ask.question == "Q3?" and ask.mode == "rag":
        return f"FAIL {EVIL}"
    text = "It is 25 N·m." if ask.mode in ("rag", "combined") else EVIL
    return json.dumps({"answer": text}) if ask.mode in ("finetuned", "combined") else text


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    about: dict[str, Any] = {"reference": "It is 25 N·m.", "facts": (("25 N·m",),)}
    return (
        *(
            Question(
                id=f"q{n}",
                question=f"Q{n}?",
                documents=(f"{n}.md",),
                tags=("heldout",),
                **about,
            )
            for n in range(12)
        ),
        Question(id="u", question=f"{EVIL}?", answerable=False, tags=("unanswerable",)),
    )


@pytest.fixture
def report(questions: tuple[Question, ...], reported: Callable[..., Report]) -> Report:
    return reported(questions, script)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.open: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "script":
            self.scripts.append(dict(attrs))
        if tag == "meta" and dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = str(dict(attrs)["content"])
        for name, value in attrs:
            if name in ("href", "src", "srcset", "action", "data", "style"):
                self.links.append(f"{name}={value}")
            if name.startswith("on"):
                self.handlers.append(name)


def data_of(html: str) -> Any:
    start = html.index('<script type="application/json" id="data">')
    return json.loads(html[html.index(">", start) + 1 : html.index("</script>", start)])


def test_the_page_needs_no_network_and_runs_its_own_script_alone(report: Report) -> None:
    html = as_html(report)
    page = Page()
    page.feed(html)
    assert not page.tags & {"link", "img", "iframe", "object", "base", "form"}
    assert page.links == ["href=#failures", "href=#costs"]
    assert not page.handlers
    assert page.scripts == [{"type": "application/json", "id": "data"}, {}]
    script = html.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert page.policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    assert not re.search(r"innerHTML|eval\(|fetch|XMLHttp|https?:|document\.write", script)
    style = html[html.index("<style>") : html.index("</style>")]
    assert not re.search(r"url\(|@import|https?:", style)


def test_what_an_answer_says_cannot_become_markup(report: Report) -> None:
    html = as_html(report)
    assert html.count("<script") == 2
    assert html.count("</script") == 2
    assert "\\u003cscript\\u003ealert(" in html
    assert "FAIL &lt;script&gt;" in html
    assert EVIL in data_of(html)["texts"]


def test_two_thousand_questions_fit_into_ten_megabytes() -> None:
    from tests.bench.evaluation import PAGE, large

    html = as_html(large())
    assert len(data_of(html)["questions"]) == PAGE == 2000
    assert len(html.encode()) < 10_000_000


def test_every_question_shows_every_arm(report: Report) -> None:
    data = data_of(as_html(report))
    assert len(data["questions"]) == len(report.questions)
    assert {len(question["a"]) for question in data["questions"]} == {len(report.arms)}
    third = data["questions"][3]
    states = dict(zip(data["arms"], (cell["s"] for cell in third["a"]), strict=True))
    assert states == {"base": 0, "rag": -1, "finetuned": 0, "combined": 1}
    combined = third["a"][data["arms"].index("combined")]
    scores = dict(zip((label for label, _ in data["metrics"]), combined["v"], strict=True))
    assert (scores["Grounded"], scores["Facts right"]) == (1, 1)


def test_the_judges_scores_stand_beside_the_others_with_what_it_failed_on(report: Report) -> None:
    fit = agreement([True, False] * 30, [True, False] * 30)
    found = {
        (arm, question.id, "faithfulness"): None
        if arm in ("base", "finetuned")
        else Score(0.5, "half of it")
        if question.id != "q1"
        else Score(None, "the judge failed: timeout")
        for arm in MODES
        for question in report.questions
    }
    judged = summarise_judged(
        "the judge", fit, JudgeSettings(metrics=("faithfulness",)), MODES, found,
        Noise(None, 0, 0), [], {}, seed=1, resamples=99,
    )  # fmt: skip
    full = replace(report, judged=judged, judgements=found)
    data = data_of(as_html(full))
    place = [label for label, _ in data["metrics"]].index("Judge: Faithful")

    def said(question: int, arm: str) -> tuple[Any, str | None]:
        cell = data["questions"][question]["a"][data["arms"].index(arm)]
        why = cell["w"][place]
        return cell["v"][place], None if why < 0 else data["texts"][why]

    assert said(0, "rag") == (0.5, "half of it")
    assert said(1, "rag") == (None, "the judge failed: timeout")
    assert said(0, "base") == (None, None)
    row = as_dict(full)["scores"][1]
    assert row["judged"] == {"faithfulness": {"value": 0.5, "why": "half of it"}}
    assert "judged" not in as_dict(report)["scores"][1]


def test_a_text_that_many_arms_share_is_kept_once(report: Report) -> None:
    texts = data_of(as_html(report))["texts"]
    assert len(texts) == len(set(texts))


def test_the_first_screen_advises_and_says_what_would_change_it(report: Report) -> None:
    html = as_html(report)
    first = html[: html.index("Which arm is better")]
    assert "For this data: both, retrieval and tuning" in first
    assert "What would change this" in first
    assert "Quality beside cost" in first
    content = as_dict(report)
    assert content["advice"]["choice"] == "both"
    assert f"**{content['advice']['title']}.**" in as_markdown(report)


def test_a_failed_answer_is_counted_and_not_averaged(report: Report) -> None:
    facts = report.summary.means["heldout"]["rag"]["facts"]
    assert (facts.mean, facts.n, facts.unscored) == (1, 11, 1)
    assert report.summary.failed == {"base": 0, "rag": 1, "finetuned": 0, "combined": 0}
    paired = report.summary.compare("facts", "combined", "rag")
    assert paired is not None
    assert (paired.n, paired.unscored) == (11, 1)


def test_abstention_counts_what_was_said_and_what_was_asked(
    report: Report, said: Callable[..., Answer]
) -> None:
    abstaining = [
        replace(o, answer=said("Sorry.", abstained=True))
        if o.arm == "rag" and o.question_id in ("u", "q0")
        else o
        for o in report.outcomes
    ]
    summary = summarise(
        report.questions, report.arms, abstaining, report.cards, seed=1, resamples=99
    )
    rag, base = summary.abstention["rag"], summary.abstention["base"]
    assert (rag.precision.mean, rag.recall.mean, rag.abstained) == (0.5, 1, 2)
    assert (base.precision.mean, base.recall.mean, base.abstained) == (None, 0, 0)


def test_the_report_is_written_in_all_its_forms(report: Report, tmp_path: Path) -> None:
    paths = write_report(report, tmp_path)
    content = json.loads(paths["report.json"].read_text(encoding="utf-8"))
    assert len(content["sentences"]) == 3
    assert content["summary"]["headline"] == "heldout"
    assert "| combined | 100 %" in as_markdown(report)
    picture = paths["picture.svg"].read_text(encoding="utf-8")
    assert picture.startswith('<svg xmlns="http://www.w3.org/2000/svg" class="pic"')


def test_the_same_answers_give_the_same_page(report: Report) -> None:
    again = summarise(
        report.questions, report.arms, report.outcomes, report.cards, seed=1, resamples=199
    )
    assert as_html(replace(report, summary=again)) == as_html(report)


def test_a_report_of_one_arm_and_one_question_is_still_a_report(report: Report) -> None:
    arms, questions = report.arms[:1], report.questions[:1]
    pairs = [
        (o, c)
        for o, c in zip(report.outcomes, report.cards, strict=True)
        if o.arm == "base" and o.question_id == "q0"
    ]
    outcomes, cards = tuple(o for o, _ in pairs), tuple(c for _, c in pairs)
    summary = summarise(questions, arms, outcomes, cards, seed=1, resamples=99)
    small = replace(
        report, arms=arms, questions=questions, outcomes=outcomes, cards=cards, summary=summary
    )
    assert "was not measured" in as_html(small)
    assert "rag: not in this run" in as_html(small)


def test_a_written_report_compares_with_itself_without_a_change(
    report: Report, tmp_path: Path
) -> None:
    write_report(report, tmp_path)
    past = read_report(tmp_path)
    found = compare(past, past, None, resamples=99)
    assert found.questions == len(report.questions)
    assert {change.difference.mean for change in found.changes} == {0}
    assert past.answers["rag", "q3"].startswith("FAIL")
