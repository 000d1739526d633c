"""Feedback: what people say about answers, kept with the answers that they speak of.

An answer is remembered when it is given, so that a rating can refer to it: the newest ones, for as
long as the settings say. One that was rated is kept until a document it rests on is deleted: what
was made of a document goes with it.

An answer in a conversation is kept with what was said before it, so it rests on the documents of
those answers too. They are found by their words among the answers that are remembered. What is not
found there was said elsewhere, from what nobody knows, and is not kept.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
)

from assistant.access import Access
from assistant.answer import Answer, Ask
from ingest.errors import NotFoundError
from ingest.stores.tables import make_tables

METADATA = MetaData()
ANSWERS = Table(
    "answers",
    METADATA,
    Column("request_id", String(32), primary_key=True),
    Column("created", Float, nullable=False, index=True),
    Column("key", String(12), nullable=False),
    Column("collection", String(64), nullable=False, index=True),
    Column("mode", String(16), nullable=False),
    Column("model", Text, nullable=False),
    Column("adapter", Text),
    Column("history", Text, nullable=False),  # a JSON list of questions and answers
    Column("question", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("abstained", Boolean, nullable=False),
)
SHOWN = Table(
    "answer_evidence",
    METADATA,
    Column("request_id", ForeignKey("answers.request_id"), primary_key=True),
    Column("marker", Integer, primary_key=True),
    Column("document_id", String(32), nullable=False, index=True),
    Column("cited", Boolean, nullable=False),
    Column("passage", Text, nullable=False),  # the evidence as JSON, its text too
)
RESTING = Table(
    "answer_history",  # documents that what was said before an answer rests on
    METADATA,
    Column("request_id", ForeignKey("answers.request_id"), primary_key=True),
    Column("document_id", String(32), primary_key=True, index=True),
)
WORDS = Table(
    "answer_words",  # a digest of what was said, by which it is found when a client sends it back
    METADATA,
    Column("request_id", ForeignKey("answers.request_id"), primary_key=True),
    Column("digest", String(64), nullable=False, index=True),
)
RATINGS = Table(
    "feedback",
    METADATA,
    Column("request_id", ForeignKey("answers.request_id"), primary_key=True),
    Column("created", Float, nullable=False),
    Column("key", String(12), nullable=False),
    Column("rating", String(8), nullable=False),
    Column("correction", Text),
    Column("comment", Text),
)
SWEEP = 64
"""Answers between two looks for those to forget; the bound may be passed by as many."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What somebody says about an answer."""

    request_id: str
    rating: Literal["up", "down"]
    correction: str | None = None
    """What the answer should have been."""
    comment: str | None = None


class Feedback:
    """Answers that were given, and what was said about them, in the state database."""

    def __init__(
        self,
        engine: Engine,
        *,
        keep_answers: int,
        keep_days: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Remember the newest `keep_answers` for `keep_days`."""
        self._engine = engine
        self._keep_answers = keep_answers
        self._keep_s = keep_days * 24 * 3600
        self._now = now
        self._unswept = 0
        make_tables(engine, METADATA)
        self.sweep()

    def remember(self, ask: Ask, answer: Answer, access: Access) -> None:
        """Keep an answer, so that it can be rated."""
        if not self._keep_answers:
            return
        row = {
            "request_id": answer.request_id,
            "created": self._now(),
            "key": access.key,
            "collection": ask.collection,
            "mode": answer.mode,
            "model": answer.model,
            "adapter": answer.adapter,
            "question": ask.question,
            "answer": answer.answer,
            "abstained": answer.abstained,
        }
        cited = {c.marker for c in answer.citations}
        shown = [
            {
                "request_id": answer.request_id,
                "marker": e.marker,
                "document_id": e.document_id,
                "cited": e.marker in cited,
                "passage": json.dumps(asdict(e), ensure_ascii=False),
            }
            for e in answer.evidence
        ]
        with self._engine.begin() as connection:
            said, documents = _traced(connection, ask)
            history = json.dumps(said, ensure_ascii=False)
            connection.execute(insert(ANSWERS).values(**row, history=history))
            digest = _digest(ask.collection, answer.answer)
            connection.execute(insert(WORDS).values(request_id=answer.request_id, digest=digest))
            if shown:
                connection.execute(insert(SHOWN), shown)
            if documents:
                named = [{"request_id": answer.request_id, "document_id": d} for d in documents]
                connection.execute(insert(RESTING), named)
        self._unswept += 1
        if self._unswept >= SWEEP:
            self.sweep()

    def rate(self, opinion: Opinion, access: Access) -> None:
        """Keep an opinion; a later one on the same answer replaces it.

        Raises:
            NotFoundError: no such answer, forgotten, or of a collection that is not the caller's.
        """
        find = select(ANSWERS.c.collection).where(ANSWERS.c.request_id == opinion.request_id)
        with self._engine.begin() as connection:
            collection = connection.execute(find).scalar()
            if collection is None or not access.sees(collection):
                raise NotFoundError(
                    f"There is no answer {opinion.request_id!r}, or it was forgotten by now.",
                    hint="request_id is in the answer; feedback.keep_days says how long it counts.",
                )
            connection.execute(delete(RATINGS).where(RATINGS.c.request_id == opinion.request_id))
            connection.execute(
                insert(RATINGS).values(**asdict(opinion), created=self._now(), key=access.key)
            )

    def list(self, access: Access, *, last: int = 100) -> list[dict[str, Any]]:
        """Return the last opinions, newest first, with all that they speak of."""
        query = (
            select(RATINGS, *(c for c in ANSWERS.c if c.name not in RATINGS.c))
            .join(ANSWERS, ANSWERS.c.request_id == RATINGS.c.request_id)
            .order_by(RATINGS.c.created.desc())
            .limit(last)
        )
        if access.collections is not None:
            query = query.where(ANSWERS.c.collection.in_(sorted(access.collections)))
        with self._engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            return [
                {
                    **{key: value for key, value in row.items() if key != "key"},
                    "history": json.loads(row["history"]),
                    "evidence": _evidence(connection, row["request_id"]),
                }
                for row in rows
            ]

    def forget_document(self, document_id: str) -> int:
        """Forget the answers that were given from a document, rated or not; return how many."""
        shown = select(SHOWN.c.request_id).where(SHOWN.c.document_id == document_id)
        before = select(RESTING.c.request_id).where(RESTING.c.document_id == document_id)
        with self._engine.begin() as connection:
            return _forget(connection, list(connection.execute(shown.union(before)).scalars()))

    def sweep(self) -> int:
        """Forget unrated answers that are too old or too many; return how many."""
        self._unswept = 0
        rated = select(RATINGS.c.request_id)
        unrated = select(ANSWERS.c.request_id).where(ANSWERS.c.request_id.not_in(rated))
        old = unrated.where(ANSWERS.c.created < self._now() - self._keep_s)
        many = unrated.order_by(ANSWERS.c.created.desc()).offset(self._keep_answers)
        with self._engine.begin() as connection:
            ids = {*connection.execute(old).scalars(), *connection.execute(many).scalars()}
            return _forget(connection, sorted(ids))


def _traced(connection: Connection, ask: Ask) -> tuple[list[list[str]], list[str]]:
    """Return what was said here before a question, and the documents that it rests on."""
    said: list[list[str]] = []
    documents: set[str] = set()
    for turn in ask.history:
        digest = _digest(ask.collection, turn.answer)
        same = select(WORDS.c.request_id).where(WORDS.c.digest == digest)
        ours = list(connection.execute(same).scalars())
        if ours:
            said.append([turn.question, turn.answer])
        for table in (SHOWN, RESTING):
            rest = select(table.c.document_id).where(table.c.request_id.in_(ours))
            documents |= set(connection.execute(rest).scalars())
    return said, sorted(documents)


def _digest(collection: str, words: str) -> str:
    return hashlib.sha256(f"{collection}\0{words.strip()}".encode()).hexdigest()


def _evidence(connection: Connection, request_id: str) -> list[dict[str, Any]]:
    query = select(SHOWN).where(SHOWN.c.request_id == request_id).order_by(SHOWN.c.marker)
    return [
        {**json.loads(row["passage"]), "cited": row["cited"]}
        for row in connection.execute(query).mappings()
    ]


def _forget(connection: Connection, ids: Sequence[str]) -> int:
    for start in range(0, len(ids), 500):  # databases bound the number of parameters
        some = ids[start : start + 500]
        for table in (RATINGS, SHOWN, RESTING, WORDS, ANSWERS):
            connection.execute(delete(table).where(table.c.request_id.in_(some)))
    return len(ids)
