"""Questions that a language model drafts from passages, each held against the words it quotes.

The model proposes; code refuses what the passage does not bear out; people decide about the rest.
"""

import asyncio
import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from assistant.engines.engine import Engine, Message, Request
from assistant.near_duplicates import near_duplicates
from eval.cache import Cache
from eval.review import Draft
from eval.run import Progress
from eval.wording import holds, normalised
from ingest.document import Chunk
from ingest.errors import GroundtuneError

FEWEST_WORDS = 12
"""Of a passage that is worth a question."""
SUPPORTED = 0.8
"""Share of a reference's telling words that must stand in its quote."""
SHORT = 8
"""Words up to which a reference that stands in its quote is a key fact as it is."""
PROMPT = """\
Document: {title}
Passage:
{text}

Write one question that somebody who does not see this passage would ask and that it answers. \
Name what the question is about, so that it can be understood by itself. Give the shortest right \
answer, in the passage's own words. Quote the one sentence of the passage that holds the answer, \
word for word."""
WORD = re.compile(r"[^\W_]+(?:[.,]\d+)*")
POINTING = re.compile(
    r"\b(?:th(?:is|e|ese) (?:passage|document|text|excerpt|section|table|paragraph|above)|"
    r"according to the|mentioned above)\b",
    re.IGNORECASE,
)
"""A question that points at what its reader does not see."""
NO_FORM = "not in the form asked for"
QUESTION_MARKS = "?\uff1f\u061f"
"""Latin, full-width, Arabic. A small model repeats the document's title and asks nothing."""
COMMON = frozenset(
    ("a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "in", "is")
    + ("it", "its", "of", "on", "or", "that", "the", "their", "this", "to", "was", "were", "with")
)


class Proposal(BaseModel):
    """What the model is asked for."""

    model_config = ConfigDict(extra="forbid")

    question: str
    answer: str
    quote: str


class Drafting(NamedTuple):
    """How drafts are made; with the passage, everything that shapes one."""

    model: str
    """Names the language model and where it runs."""
    max_tokens: int
    temperature: float
    seed: int


def choose(
    chunks: Iterable[Chunk], *, each: int, limit: int | None = None, seed: int
) -> list[Chunk]:
    """Return up to `each` passages of every document, `limit` in all, documents in turn.

    The draw depends on the passages and the seed alone, and a larger `limit` keeps the passages of
    a smaller one.
    """
    by_source: dict[str, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        if len(WORD.findall(chunk.text)) >= FEWEST_WORDS:
            by_source[chunk.source].append(chunk)
    sources = sorted(by_source)
    random.Random(f"{seed}:sources").shuffle(sources)
    drawn = {}
    for source in sources:
        pool = sorted(by_source[source], key=lambda chunk: (chunk.ordinal, chunk.id))
        random.Random(f"{seed}:{source}").shuffle(pool)
        drawn[source] = pool[:each]
    turns = [drawn[s][n] for n in range(each) for s in sources if n < len(drawn[s])]
    return turns[:limit]


async def draft_all(
    passages: Sequence[Chunk],
    engine: Engine,
    how: Drafting,
    cache: Cache,
    progress: Progress,
    *,
    parallel: int = 1,
) -> list[Draft]:
    """Return one draft a passage, in their order; a passage is asked about once and remembered.

    What the model made of a passage is in `cache` before the next is asked about, so a run that
    was stopped goes on where it was. What it failed on is a refused draft that says why, and is
    tried again by the next run.

    Raises:
        GroundtuneError: the model failed on every passage; says how on the last.
    """
    drafts: dict[int, Draft] = {}
    failures: list[GroundtuneError] = []
    work = iter(enumerate(passages))

    async def worker() -> None:
        for place, chunk in work:
            try:
                reply = await _proposed(chunk, engine, how, cache)
                drafts[place] = judged(chunk, reply)
            except GroundtuneError as error:
                failures.append(error)
                drafts[place] = _refused(chunk, f"the model failed: {error.message}")
            progress.advance()

    async with asyncio.TaskGroup() as group:
        for _ in range(parallel):
            group.create_task(worker())
    if passages and len(failures) == len(passages):
        raise failures[-1]
    return without_repeats([drafts[place] for place in range(len(passages))])


def judged(chunk: Chunk, reply: str) -> Draft:
    """Return the draft that `reply` is, refused with a reason where the passage does not hold it.

    The quote becomes the passage's own characters.
    """
    try:
        found = Proposal.model_validate_json(reply)
    except ValidationError:
        return _refused(chunk, f"{NO_FORM}: {reply[:80]!r}")
    question, answer = found.question.strip(), found.answer.strip()
    quote = quoted(chunk.text, found.quote)
    draft = Draft(
        id=_name(chunk, question),
        document=chunk.source,
        question=question or "?",
        reference=answer,
        quote=quote or found.quote.strip(),
        facts=_facts(answer, quote or ""),
    )
    why = _fault(question, answer, quote)
    return draft.model_copy(update={"status": "refused", "why": why}) if why else draft


def quoted(text: str, quote: str) -> str | None:
    """Return the stretch of `text` that `quote` repeats, whatever its spaces and case; or None."""
    words = quote.strip().strip("\"'\u201c\u201d\u2026.").split()
    if not words:
        return None
    found = re.search(r"\s+".join(map(re.escape, words)) + r"[.!?]?", text, re.IGNORECASE)
    return None if found is None else found[0]


def supported(reference: str, quote: str) -> bool:
    """Whether `quote` bears `reference` out: every number of it, and nearly all telling words."""
    said = set(WORD.findall(normalised(quote)))
    told = [w for w in WORD.findall(normalised(reference)) if w not in COMMON]
    numbers = [w for w in told if any(c.isdigit() for c in w)]
    if not told or not all(number in said for number in numbers):
        return False
    return sum(word in said for word in told) >= SUPPORTED * len(told)


def without_repeats(drafts: Sequence[Draft]) -> list[Draft]:
    """Return the drafts, all but the first of those that ask nearly the same marked as refused."""
    open_ = [n for n, draft in enumerate(drafts) if draft.status == "open"]
    kept = list(drafts)
    for pair in near_duplicates([drafts[n].question for n in open_]):
        why = f"asks the same as {drafts[open_[pair.first]].id}"
        place = open_[pair.second]
        kept[place] = kept[place].model_copy(update={"status": "refused", "why": why})
    return kept


async def _proposed(chunk: Chunk, engine: Engine, how: Drafting, cache: Cache) -> str:
    title = " > ".join(part for part in (chunk.title, chunk.heading) if part)
    prompt = PROMPT.format(title=title, text=chunk.text)
    schema = Proposal.model_json_schema()
    shaped: list[Any] = [*how, prompt, schema]
    text = json.dumps(shaped, sort_keys=True, ensure_ascii=False)
    key = hashlib.sha256(f"draft\x00{text}".encode()).hexdigest()
    known = cache.get([key])
    if key in known:
        return str(known[key])
    request = Request(
        messages=[Message("user", prompt)],
        max_tokens=how.max_tokens,
        temperature=how.temperature,
        seed=how.seed,
        schema=schema,
    )
    reply = "".join([piece.text async for piece in engine.stream(request)])
    cache.put({key: reply})
    return reply


def _fault(question: str, answer: str, quote: str | None) -> str:
    """Return why a draft cannot be used; empty when it can."""
    if len(WORD.findall(question)) < 3 or question[-1] not in QUESTION_MARKS:
        return "not a question"
    if POINTING.search(question):
        return "points at a passage that its reader does not see"
    if not answer:
        return "no answer"
    if quote is None:
        return "the quote does not stand in the passage"
    if not supported(answer, quote):
        return "the quote does not bear out the answer"
    if holds(question, answer):
        return "the question gives its answer away"
    return ""


def _facts(answer: str, quote: str) -> tuple[tuple[str, ...], ...]:
    """Return the key facts that can be read off: a short answer that stands in its quote."""
    plain = answer.strip().rstrip(".")
    if plain and len(plain.split()) <= SHORT and holds(quote, plain):
        return ((plain,),)
    return ()


def _refused(chunk: Chunk, why: str) -> Draft:
    return Draft(
        id=_name(chunk, ""), document=chunk.source, question="?", status="refused", why=why
    )


def _name(chunk: Chunk, question: str) -> str:
    digest = hashlib.sha256(f"{chunk.id}\x00{question}".encode()).hexdigest()[:8]
    stem = re.sub(r"[^a-z0-9]+", "-", chunk.source.rpartition("/")[2].casefold()).strip("-")
    return f"{stem[:40]}-{digest}"
