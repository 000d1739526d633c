"""Drafting questions: what the passage does not bear out is refused, and people have the rest."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.engines.engine import Request
from eval.cache import Cache
from eval.draft import Drafting, choose, draft_all, judged, quoted, supported
from eval.review import Draft, read_review
from ingest.document import Chunk
from ingest.errors import DataError, EngineError
from tests.fakes import ScriptedEngine
from tests.rig import Counter

HOW = Drafting("scripted", 100, 0.0, 0)
TEXT = (
    "The Osprey 77 has two clamp screws. Tighten them to 61\nN·m, crosswise, and check them again "
    "after one week of use."
)


def chunk(text: str = TEXT, source: str = "manuals/osprey.md", ordinal: int = 0) -> Chunk:
    return Chunk(
        f"{source}{ordinal}", source, "default", source, "Osprey", (), None, 0, len(text), text,
        ordinal,
    )  # fmt: skip


def reply(**values: str) -> str:
    right = {
        "question": "How tight are the clamp screws of the Osprey 77?",
        "answer": "61 N·m",
        "quote": "tighten them to 61 N·m, crosswise, and check them again after one week of use",
    }
    return json.dumps(right | values)


def test_a_draft_quotes_the_documents_own_characters_and_has_its_fact() -> None:
    draft = judged(chunk(), reply())
    assert (draft.status, draft.facts) == ("open", (("61 N·m",),))
    assert draft.quote in TEXT
    assert draft.quote.startswith("Tighten them to 61\nN·m")
    question = draft.asked()
    assert (question.documents, question.reference) == (("manuals/osprey.md",), "61 N·m")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"answer": "65 N·m"}, "the quote does not bear out the answer"),
        ({"quote": "Tighten them to 65 N·m."}, "the quote does not stand in the passage"),
        ({"quote": ""}, "the quote does not stand in the passage"),
        ({"answer": ""}, "no answer"),
        ({"question": "Torque?"}, "not a question"),
        ({"question": "Osprey 77 Field Manual: clamp screws"}, "not a question"),
        ({"question": "How tight does this passage say?"}, "points at a passage"),
        ({"question": "Are the screws tightened to 61 N·m?"}, "gives its answer away"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_passage_does_not_bear_out_is_refused_with_the_reason(
    values: dict[str, str], why: str
) -> None:
    draft = judged(chunk(), reply(**values))
    assert draft.status == "refused"
    assert why in draft.why


def test_nonsense_is_a_refused_draft() -> None:
    assert "not in the form asked for: 'Sure!" in judged(chunk(), "Sure! Here it is").why


@given(st.text(min_size=1), st.integers(0, 200), st.integers(1, 80))
def test_a_stretch_of_the_passage_is_found_whatever_its_spaces(
    text: str, start: int, length: int
) -> None:
    stretch = text[start : start + length]
    found = quoted(text, re.sub(r"\s", "  ", stretch))
    assert found is None or found in text
    if re.fullmatch(r"\w+(?:\s\w+)*", stretch):
        assert found is not None


def test_an_answer_in_other_words_needs_its_numbers_and_nearly_all_its_words() -> None:
    assert supported("Tighten them crosswise", "Tighten them crosswise to 61 N·m.")
    assert not supported("Tighten them by hand and gently", "Tighten them crosswise to 61 N·m.")
    assert not supported("Tighten them crosswise to 6 N·m", "Tighten them crosswise to 61 N·m.")
    assert not supported("the", "the")


def test_every_document_has_its_turn_before_any_has_a_second() -> None:
    pool = [chunk(source=f"{s}.md", ordinal=n) for s in "abcd" for n in range(5)]
    drawn = choose(pool, each=3, seed=1)
    assert len({c.source for c in drawn[:4]}) == 4
    assert len(drawn) == 12
    assert choose(pool[::-1], each=3, seed=1) == drawn
    assert choose(pool, each=3, limit=5, seed=1) == drawn[:5]
    assert choose(pool, each=3, seed=2) != drawn
    assert not choose([chunk("Too short.")], each=3, seed=1)


def test_what_was_drafted_is_not_asked_again_and_failures_are(cache: Cache) -> None:
    passages = [chunk(ordinal=n) for n in range(4)]
    asked: list[Request] = []

    def half(request: Request) -> str:
        asked.append(request)
        if len(asked) > 2:
            raise EngineError("out of memory")
        return reply(question=f"How tight are the screws of the Osprey {len(asked)}?")

    def go(engine: ScriptedEngine, how: Drafting = HOW) -> tuple[list[Draft], int]:
        counter = Counter()
        drafts = asyncio.run(draft_all(passages, engine, how, cache, counter))
        return drafts, counter.seen

    # The four passages are told apart by their text, as documents are.
    passages = [chunk(f"{TEXT} It is number {n}.", ordinal=n) for n in range(4)]
    first, seen = go(ScriptedEngine(half))
    assert ([d.status for d in first], seen) == (["open"] * 2 + ["refused"] * 2, 4)
    assert first[3].why == "the model failed: out of memory"
    healthy = ScriptedEngine(reply())
    again, _ = go(healthy)
    assert len(healthy.requests) == 2
    assert again[:2] == first[:2]
    assert [d.why for d in again[2:]] == ["", f"asks the same as {again[2].id}"]
    other = ScriptedEngine(reply())
    go(other, HOW._replace(seed=1))
    assert len(other.requests) == 4
    assert all(request.schema for request in other.requests)


def test_where_no_draft_can_be_used_the_command_says_that_the_model_is_unfit() -> None:
    from eval.command import render

    counts = {"open": 0, "accepted": 0, "rejected": 0, "refused": 2}
    said = render({"review": "r.jsonl", "counts": counts, "refused": {"not a question": 2}})
    assert "2 x not a question" in said
    assert "Draft with a stronger language model" in said
    assert "accept" not in said.partition("\n")[2]


def test_a_model_that_never_answers_is_an_error(cache: Cache) -> None:
    dead = ScriptedEngine("x", fail_after=0, error=EngineError("gone"))
    with pytest.raises(EngineError, match="gone"):
        asyncio.run(draft_all([chunk()], dead, HOW, cache, Counter()))


def test_the_command_drafts_reviews_and_accepts(
    rig: Any, parse: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From documents to questions, as a person goes about it."""
    from contextlib import nullcontext

    import assistant.workspace
    from eval.command import render, run
    from eval.question import read_questions

    def says(request: Request) -> str:
        found = re.search(r"clamp screws of the (.+?) are tightened to (.+?)\.", str(request))
        assert found is not None
        name, torque = found.groups()
        return json.dumps(
            {
                "question": f"How tight are the clamp screws of the {name}?",
                "answer": torque if name != "Wick 12" else "about right",
                "quote": f"The clamp screws of the {name} are tightened to {torque}.",
            }
        )

    rig.scripted._reply = says
    # The boundary: the workspace that the command opens is the small one.
    monkeypatch.setattr(assistant.workspace, "open_workspace", lambda _: nullcontext(rig))
    path = tmp_path / "review.jsonl"
    drafted = run(parse("questions", "draft", str(path)), rig.settings)
    assert drafted["counts"] == {"open": 2, "accepted": 0, "rejected": 0, "refused": 1}
    assert "1 x the quote does not bear out the answer" in render(drafted)

    answers = iter("ar")
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    reviewed = run(parse("questions", "review", str(path)), rig.settings)
    assert reviewed["counts"] == {"open": 0, "accepted": 1, "rejected": 1, "refused": 1}
    asked = len(rig.scripted.requests)
    again = run(parse("questions", "draft", str(path)), rig.settings)
    assert (again["counts"], len(rig.scripted.requests)) == (reviewed["counts"], asked)

    out = tmp_path / "questions.jsonl"
    assert run(parse("questions", "accept", str(path), str(out)), rig.settings)["n"] == 1
    (question,) = read_questions(out)
    assert question.id in {d.id for d in read_review(path) if d.status == "accepted"}


def test_without_accepted_drafts_there_are_no_questions(tmp_path: Path) -> None:
    from eval.review import accepted

    with pytest.raises(DataError, match=r"None of the 1 drafts is accepted(?s:.)*review FILE"):
        accepted([judged(chunk(), reply())])


def test_bad_lines_of_a_review_are_named(tmp_path: Path) -> None:
    path = tmp_path / "review.jsonl"
    good = judged(chunk(), reply()).model_dump_json()
    path.write_text(f'{good}\n{{"id": 1}}\nnot json\n{good}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"(?s)3 bad lines.*:2.*:3: not JSON.*:4: id .* twice"):
        read_review(path)
    with pytest.raises(DataError, match="eval questions draft"):
        read_review(tmp_path / "none.jsonl")
