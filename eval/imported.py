"""Questions of others: SQuAD-style JSON and BEIR-style folders, with the documents they are about.

An import is a folder: `documents/` to ingest, and `questions.jsonl` to evaluate on.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.beir import QUERIES, read_collection
from eval.question import Question
from eval.review import write_questions
from ingest.errors import DataError

SHOWN_PROBLEMS = 10
SAFE = re.compile(r"[^\w.-]+")
LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Imported:
    """Questions, and the documents that hold their evidence."""

    questions: tuple[Question, ...]
    documents: Mapping[str, str]
    """File name -> text; a question names its documents by these."""


def from_squad(path: Path) -> Imported:
    """Read SQuAD-style JSON; an article is a document, its paragraphs in their order.

    A question that version 2 calls impossible is unanswerable: it names no document. All answers
    that annotators gave are spellings of one key fact.

    Raises:
        DataError: not such a file; says where.
    """
    articles = _articles(path)
    documents: dict[str, str] = {}
    questions: list[Question] = []
    problems: list[str] = []
    for place, article in enumerate(articles):
        where = f"data[{place}]"
        try:
            title = str(article["title"])
            paragraphs = article["paragraphs"]
            name = _file_name(title, documents)
            documents[name] = f"{title}\n\n" + "\n\n".join(str(p["context"]) for p in paragraphs)
            rows = [row for paragraph in paragraphs for row in paragraph["qas"]]
        except (KeyError, TypeError) as error:
            problems.append(f"{where}: {error!r} is missing")
            continue
        for row in rows:
            try:
                questions.append(_squad_question(row, name))
            except (KeyError, TypeError, ValueError) as error:
                problems.append(f"{where}, question {_id(row)}: {error}")
    problems += _repeated(questions)
    _refuse(path, problems)
    if not questions:
        raise DataError(f"{path} holds no questions.")
    return Imported(tuple(questions), documents)


def from_beir(folder: Path) -> Imported:
    """Read a BEIR-style folder; what is judged relevant to a query are its documents.

    There are no reference answers in such a folder, so retrieval is measured and facts are not.

    Raises:
        DataError: a file is missing or wrong; says which lines.
    """
    collection = read_collection(folder)
    names: dict[str, str] = {}
    documents: dict[str, str] = {}
    for entry in collection.entries:
        names[entry.id] = _file_name(entry.id, documents)
        heading = f"{entry.title}\n\n" if entry.title else ""
        documents[names[entry.id]] = heading + entry.text
    questions = [
        Question(
            id=query,
            question=text,
            documents=tuple(names[d] for d, grade in collection.qrels[query].items() if grade > 0),
            tags=(folder.name,),
        )
        for query, text in collection.queries.items()
        if text.strip()
    ]
    if not questions:
        raise DataError(f"{folder / QUERIES} holds no query with a relevant document.")
    return Imported(tuple(questions), documents)


def write_imported(found: Imported, folder: Path) -> Path:
    """Write the documents and the questions into `folder`; return the file of questions."""
    documents = folder / "documents"
    documents.mkdir(parents=True, exist_ok=True)
    for name, text in found.documents.items():
        (documents / name).write_text(text.strip() + "\n", encoding="utf-8")
    path = folder / "questions.jsonl"
    write_questions(found.questions, path)
    return path


def _articles(path: Path) -> Sequence[Any]:
    hint = 'SQuAD-style is {"data": [{"title", "paragraphs": [{"context", "qas": [...]}]}]}.'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read as JSON: {why}.", hint=hint) from None
    articles = content.get("data") if isinstance(content, dict) else None
    if not isinstance(articles, list):
        raise DataError(f"{path} has no list `data`.", hint=hint)
    return articles


def _squad_question(row: Mapping[str, Any], document: str) -> Question:
    spellings = tuple(dict.fromkeys(a["text"].strip() for a in row.get("answers", ())))
    spellings = tuple(spelling for spelling in spellings if spelling)
    impossible = bool(row.get("is_impossible", False))
    if not impossible and not spellings:
        raise ValueError("no answer, and it is not marked `is_impossible`")
    return Question(
        id=str(row["id"]),
        question=str(row["question"]).strip(),
        reference="" if impossible else spellings[0],
        documents=() if impossible else (document,),
        answerable=not impossible,
        facts=() if impossible else (spellings,),
        tags=("unanswerable",) if impossible else ("squad",),
    )


def _file_name(title: str, taken: Mapping[str, str]) -> str:
    """Return a safe name for a document; titles that would share one are told apart by a hash.

    Plain text, so that nothing in it is read as markup.
    """
    stem = SAFE.sub("_", title).strip("._")[:LONGEST_NAME]
    name = f"{stem}.txt"
    if not stem or name in taken:
        digest = hashlib.sha256(f"{len(taken)} {title}".encode()).hexdigest()[:8]
        name = f"{stem}-{digest}.txt".lstrip("-")
    return name


def _repeated(questions: Sequence[Question]) -> Iterator[str]:
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            yield f"question {question.id!r} stands twice"
        seen.add(question.id)


def _id(row: Any) -> str:
    return repr(row.get("id")) if isinstance(row, dict) else repr(row)[:40]


def _refuse(path: Path, problems: Sequence[str]) -> None:
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        shown = [*problems[:SHOWN_PROBLEMS], *([f"... and {more} more"] if more > 0 else [])]
        raise DataError("\n  ".join([f"{len(problems)} problems in {path}:", *shown]))
