"""Other people's questions become ours, with the documents that they are about."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assistant.config import Settings
from eval.command import render, run
from eval.imported import from_beir, from_squad, write_imported
from eval.question import check_documents, read_questions
from ingest.errors import DataError
from ingest.files import find_files


def squad(**changes: Any) -> dict[str, Any]:
    asked = {
        "id": "s1",
        "question": "How tight are the screws?",
        "answers": [{"text": "61 N·m", "answer_start": 0}, {"text": "61 Nm", "answer_start": 0}],
        "is_impossible": False,
    }
    impossible = {
        "id": "s2",
        "question": "Who tightened them?",
        "answers": [],
        "plausible_answers": [{"text": "Osprey", "answer_start": 0}],
        "is_impossible": True,
    }
    first = {"context": "The screws take 61 N·m.", "qas": [asked | changes, impossible]}
    second = {"context": "The Osprey is old.", "qas": []}
    return {
        "version": "v2.0",
        "data": [
            {"title": "Osprey/77", "paragraphs": [first, second]},
            {"title": "Osprey 77", "paragraphs": []},
        ],
    }


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_squad_becomes_documents_and_questions_with_every_spelling(tmp_path: Path) -> None:
    found = from_squad(written(tmp_path, squad()))
    asked, impossible = found.questions
    assert asked.facts == (("61 N·m", "61 Nm"),)
    assert (asked.reference, asked.answerable) == ("61 N·m", True)
    assert "The screws take 61 N·m.\n\nThe Osprey is old." in found.documents[asked.documents[0]]
    assert (impossible.answerable, impossible.documents, impossible.facts) == (False, (), ())
    assert len(found.documents) == 2  # titles that look alike do not share a file


def test_the_first_version_of_squad_says_nothing_of_impossible_questions(tmp_path: Path) -> None:
    content = squad()
    for row in content["data"][0]["paragraphs"][0]["qas"]:
        row.pop("is_impossible")
    with pytest.raises(DataError, match="'s2': no answer, and it is not marked `is_impossible`"):
        from_squad(written(tmp_path, content))
    content["data"][0]["paragraphs"][0]["qas"].pop()
    assert from_squad(written(tmp_path, content)).questions[0].answerable


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "has no list `data`"),
        ({"data": []}, "holds no questions"),
        ({"data": [{"title": "x"}]}, r"data\[0\]: KeyError\('paragraphs'\) is missing"),
        (squad(id="s2"), "question 's2' stands twice"),
        (squad(question=""), "question 's1'"),
    ],
    ids=["a list", "empty", "no paragraphs", "twice", "no words"],
)
def test_what_is_not_squad_is_refused_by_name(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        from_squad(written(tmp_path, content))


def test_a_file_that_is_not_json_is_refused_with_the_form(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    path.write_text("id,question", encoding="utf-8")
    with pytest.raises(DataError, match=r'(?s)cannot be read as JSON.*"paragraphs"'):
        from_squad(path)


def beir(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": f"d/{n}", "title": f"T{n}", "text": f"Text {n}."} for n in range(3)]
    queries = [{"_id": "q1", "text": "Which one?"}, {"_id": "q2", "text": "None?"}]
    for name, content in (("corpus", rows), ("queries", queries)):
        text = "".join(json.dumps(row) + "\n" for row in content)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    qrels = "query-id\tcorpus-id\tscore\nq1\td/0\t2\nq1\td/1\t0\nq2\td/2\t0\n"
    (folder / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8")
    return folder


def test_a_beir_folder_becomes_questions_that_name_what_is_relevant(tmp_path: Path) -> None:
    found = from_beir(beir(tmp_path / "tiny"))
    (question,) = found.questions
    assert (question.id, question.documents, question.tags) == ("q1", ("d_0.txt",), ("tiny",))
    assert found.documents["d_0.txt"] == "T0\n\nText 0."
    assert len(found.documents) == 3


@pytest.mark.parametrize("verb", ["squad", "beir"])
def test_an_import_can_be_ingested_and_asked_as_it_lies_there(
    tmp_path: Path, verb: str, parse: Callable[..., Any]
) -> None:
    source = beir(tmp_path / "tiny") if verb == "beir" else written(tmp_path, squad())
    out = tmp_path / "out"
    result = run(parse("questions", verb, str(source), str(out)), Settings(home=tmp_path))
    questions = read_questions(Path(result["questions"]))
    assert result["n"] == len(questions)
    assert f"groundtune ingest {out / 'documents'}" in render(result)
    sources = {found.source for found in find_files([str(out / "documents")])}
    check_documents(questions, sources, "the folder")


def test_an_import_is_the_same_each_time(tmp_path: Path) -> None:
    found = from_squad(written(tmp_path, squad()))
    one, two = (write_imported(found, tmp_path / name) for name in ("1", "2"))
    assert one.read_bytes() == two.read_bytes()
