import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from eval.question import (
    KINDS,
    Question,
    check_documents,
    clusters_of,
    read_questions,
    sample,
)
from ingest.errors import DataError, UsageError


def line(**values: Any) -> str:
    return json.dumps({"id": "q1", "question": "How long?", **values}) + "\n"


def question(number: int, *tags: str, answerable: bool = True) -> Question:
    return Question(id=f"q{number}", question="Why?", tags=tags, answerable=answerable)


MIXED = [
    *(question(n, "heldout") for n in range(40)),
    *(question(n, "seen-document") for n in range(40, 60)),
    *(question(n, "style") for n in range(60, 64)),
    *(question(n, answerable=False) for n in range(64, 80)),
]


def test_all_bad_lines_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(line() + "{oops\n" + line() + line(id="q2", facts=[[]]) + line(id="q3", tag=1))
    with pytest.raises(DataError) as caught:
        read_questions(path)
    message = str(caught.value)
    assert "4 bad lines" in message
    for part in (":2: not JSON", ":3: id 'q1' is taken by line 1", ":4: facts", "mean 'tags'"):
        assert part in message


def test_a_missing_or_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="holds no questions"):
        read_questions(tmp_path / "empty.jsonl")


def test_documents_that_are_not_indexed_are_refused_with_who_needs_them() -> None:
    asked = [Question(id=i, question="?", documents=("a.md", "b.md")) for i in ("x", "y")]
    check_documents(asked, {"a.md", "b.md"}, "the index")
    with pytest.raises(DataError, match=r"b\.md: needed by x, y"):
        check_documents(asked, {"a.md"}, "the index")


def test_a_sample_holds_every_kind_in_its_share() -> None:
    kinds = Counter(q.kind for q in sample(MIXED, 20, seed=1))
    assert kinds == {"heldout": 10, "seen": 5, "style": 1, "unanswerable": 4}


@pytest.mark.parametrize("n", range(1, 81))
def test_a_sample_has_exactly_the_size_asked_for(n: int) -> None:
    assert len(sample(MIXED, n, seed=3)) == n


def test_a_sample_does_not_depend_on_the_order_of_the_file() -> None:
    forwards = {q.id for q in sample(MIXED, 15, seed=5)}
    backwards = {q.id for q in sample(MIXED[::-1], 15, seed=5)}
    assert forwards == backwards
    assert forwards != {q.id for q in sample(MIXED, 15, seed=6)}


def test_a_sample_asks_of_every_document_before_it_asks_twice_of_one() -> None:
    asked = [
        Question(id=f"q{n}", question="Why?", documents=(f"{min(n, 4)}.md",)) for n in range(20)
    ]
    for seed in range(5):
        documents = Counter(q.documents for q in sample(asked, 7, seed=seed))
        assert documents == {("0.md",): 1, ("1.md",): 1, ("2.md",): 1, ("3.md",): 1, ("4.md",): 3}


def test_a_sample_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="starts at 1"):
        sample(MIXED, 0, seed=0)


def test_the_sample_company_asks_every_kind_of_question() -> None:
    questions = read_questions(Path("examples/tarnfell/questions.jsonl"))
    assert {q.kind for q in questions} == set(KINDS) - {"other"}
    assert all(q.heldout or q.kind != "heldout" for q in questions)


def test_questions_joined_by_a_chain_of_documents_are_one_cluster() -> None:
    asked = [
        Question(id="1", question="?", documents=("a", "b")),
        Question(id="2", question="?", documents=("c",)),
        Question(id="3", question="?", documents=("b", "c")),
        Question(id="4", question="?", documents=("d",)),
        Question(id="5", question="?"),
        Question(id="6", question="?"),
    ]
    found = clusters_of(asked)
    assert found["1"] == found["2"] == found["3"]
    assert len(set(found.values())) == 4
    assert clusters_of(asked[::-1]) == found
