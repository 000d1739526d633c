"""The sources of a recipe, read one after the other into rows."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from assistant.answer_schema import read_schema
from finetune.answer_format import AnswerFormat
from finetune.example import Example
from finetune.grounding import SUPPORTED, support
from finetune.lines import Problems, read_lines
from finetune.recipe import DataRecipe
from finetune.rows import SPARE, House, Retrieve, answer_text, build_rows, without_evidence
from finetune.sources.chat import format_of, read_chat
from finetune.sources.documents import Writing, write_questions
from finetune.sources.feedback import take_feedback
from finetune.sources.source import Desk, Harvest, SourceRecipe
from finetune.sources.table import read_table
from finetune.ticket import Ticket
from ingest.errors import ConfigError

TABLES = (".csv", ".tsv")
Report = Callable[[int, int], None]
"""(passages done, of how many)."""


def harvest(
    source: SourceRecipe,
    data: DataRecipe,
    house: House,
    retrieve: Retrieve,
    desk: Desk,
    *,
    bar: Callable[[str], AbstractContextManager[Report]],
) -> Harvest:
    """Return the rows of one source, as `data` asks for them.

    Raises:
        ConfigError: the source lacks a file, or names columns or keys that do not exist.
        DataError: wrong lines; names all of them.
        EngineError: the model that writes failed.
    """
    schema = None if source.schema_file is None else read_schema(source.schema_file)
    answers = AnswerFormat(schema)
    kind = kind_of(source)
    if kind == "documents":
        with desk.engine(source.engine) as engine, bar(source.title) as report:
            written = write_questions(
                desk.chunks(),
                engine,
                writing_of(source, data.seed, schema),
                title=source.title,
                cache=desk.cache,
                report=report,
            )
        found = _served(written.tickets, source, data, house, retrieve)
        found.counts += written.counts
        return found
    named: dict[str, Any] = {"title": source.title, "system": house.system, "tags": source.tags}
    if kind == "feedback":
        return take_feedback(desk.opinions(), answers=answers, **named)
    assert source.path is not None, "kind_of has seen to it"
    if kind == "chat":
        return read_chat(source.path, answers=answers, **named)
    table = read_table(source.path, title=source.title, columns=source.columns, answers=answers)
    if not source.evidence:
        return _bare(table.tickets, source, data, house)
    rows = _served if table.documented else _grounded
    return rows(table.tickets, source, data, house, retrieve)


def check_tables(sources: Sequence[SourceRecipe]) -> None:
    """Read the tables of `sources`: what is wrong with a file is told before any index is asked.

    Raises:
        ConfigError: a source lacks a file, or names columns or keys that do not exist.
        DataError: wrong lines; names all of them.
    """
    for source in sources:
        if kind_of(source) != "table" or source.path is None:
            continue
        schema = None if source.schema_file is None else read_schema(source.schema_file)
        answers = AnswerFormat(schema)
        read_table(source.path, title=source.title, columns=source.columns, answers=answers)


def writing_of(source: SourceRecipe, seed: int, schema: dict[str, Any] | None) -> Writing:
    """Return how a source asks for questions about documents."""
    return Writing(source.per_passage, source.passages, source.min_support, seed, schema)


def kind_of(source: SourceRecipe) -> str:
    """Return what kind of source it is; `auto` looks into its file.

    Raises:
        ConfigError: it has no file and needs one, or has one and reads none.
        DataError: the file cannot be read.
    """
    if source.kind in ("documents", "feedback"):
        if source.path is not None:
            raise ConfigError(
                f"A source of kind {source.kind!r} reads no file, but has path = {source.path}.",
                hint='Leave path out, or set kind = "table" or "chat".',
            )
        return source.kind
    if source.path is None:
        raise ConfigError(
            f"The source {source.title!r} has no path.",
            hint='Set path = "FILE", or kind = "documents" or "feedback".',
        )
    if source.kind != "auto" or source.path.suffix.lower() in TABLES:
        return "table" if source.kind == "auto" else source.kind
    lines = read_lines(source.path, Problems())  # what is wrong is named when it is read
    return "chat" if lines and format_of(lines[0].value) else "table"


def _served(
    tickets: Sequence[Ticket],
    source: SourceRecipe,
    data: DataRecipe,
    house: House,
    retrieve: Retrieve,
) -> Harvest:
    """Return rows with the evidence that search returns; `build_rows` says which kinds there are.

    A ticket that names no facts cannot be robbed of its evidence: nobody knows what to take out.
    """
    tagged = [t.model_copy(update={"tags": (*source.tags, *t.tags)}) for t in tickets]
    documents = {t.id: t.documents for t in tagged}
    found = Harvest()
    for known in (True, False):
        some = [t for t in tagged if bool(t.facts or not t.documents) is known]
        shares = data if known else data.model_copy(update={"insufficient": 0.0})
        rows = build_rows(some, retrieve, shares, house)
        found.examples += [replace(e, documents=documents[e.source]) for e in rows.examples]
        found.counts.update(rows.counts)
    return found


def _grounded(
    tickets: Sequence[Ticket],
    source: SourceRecipe,
    data: DataRecipe,
    house: House,
    retrieve: Retrieve,
) -> Harvest:
    """Return rows of tickets that do not say where their answers stand.

    The documents of those passages that support an answer are taken for its own. Where no passage
    does, the row shows none: evidence that does not hold the answer would teach to make things up.
    """
    held: list[Ticket] = []
    unsupported: list[Ticket] = []
    for ticket in tickets:
        answer = answer_text(ticket.answer)
        hits = retrieve(ticket.question, house.shown + SPARE)[: house.shown]
        holders = [
            hit.source
            for hit in hits
            if support(answer, ticket.question, hit.passage.text) >= SUPPORTED
        ]
        if holders:
            named = tuple(dict.fromkeys(holders))
            held.append(ticket.model_copy(update={"documents": named}))
        else:
            unsupported.append(ticket)
    found = _served(held, source, data, house, retrieve)
    bare = _bare(unsupported, source, data, house)
    found.examples += bare.examples
    found.counts["unsupported"] = len(bare.examples)
    return found


def _bare(
    tickets: Sequence[Ticket], source: SourceRecipe, data: DataRecipe, house: House
) -> Harvest:
    rows: list[Example] = []
    for ticket in tickets:
        tagged = ticket.model_copy(update={"tags": (*source.tags, *ticket.tags)})
        rows.append(replace(without_evidence(tagged, data, house), documents=ticket.documents))
    found = Harvest(rows)
    found.counts["no_evidence"] = len(rows)
    return found
