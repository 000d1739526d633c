"""Documents: a model writes questions about their passages, and code keeps what the text supports.

A reply is kept on disk under the hash of all that shaped it, so a run that was killed goes on where
it stopped, and a second one asks for nothing.
"""

import asyncio
import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.engines.engine import Engine, Message, Request
from assistant.evidence import passage
from assistant.near_duplicates import near_duplicates
from assistant.prompt import PASSAGE, neutralise
from finetune.grounding import support
from finetune.rows import answer_text
from finetune.ticket import Ticket
from ingest.document import Chunk

SYSTEM = (
    "You write training data for an assistant. From one passage you write questions that somebody "
    "who has not seen it would ask, each answered from the passage alone."
)
TASK = (
    "{passage}\n\nWrite {count} question(s) that this passage answers. Name the thing that is "
    "asked about; never speak of a passage or a text. The quote is the sentence of the passage "
    "that holds the answer, word for word. Reply with JSON: "
    '{{"pairs": [{{"question": "", "answer": "", "quote": ""}}]}}'
)
TOKENS_A_PAIR = 256
MENTIONS = ("passage", "the text", "the excerpt", "this document", "above")
"""A question that speaks of what it was made from is one that nobody asks."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How questions are asked for, and which of them are kept."""

    per_passage: int
    passages: int
    """Most passages, drawn at random by `seed`; 0 takes all."""
    min_support: float
    seed: int
    schema: Mapping[str, Any] | None = None
    """What an answer must be; None takes a text."""
    parallel: int = 2
    """Passages that are asked about at the same time."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote, and what became of it."""

    tickets: list[Ticket]
    counts: Counter[str]
    """`passages`, `pairs`, `kept`, and `dropped: REASON`."""


def write_questions(
    chunks: Iterable[Chunk],
    engine: Engine,
    writing: Writing,
    *,
    title: str,
    cache: Path,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Written:
    """Ask `engine` about passages and keep the pairs that hold.

    A pair is dropped when its quote does not stand in the passage, when the passage does not
    support the answer, when the question speaks of the passage, or when it repeats another one.

    Args:
        chunks: the passages.
        engine: writes the questions.
        writing: how.
        title: leads the id of each ticket.
        cache: folder of the replies.
        report: is told how many passages are done, of how many.

    Raises:
        EngineError: the model failed. What it replied before is kept for the next run.
    """
    chosen = _draw(list(chunks), writing)
    replies = asyncio.run(_ask_all(chosen, engine, writing, cache, report))
    counts: Counter[str] = Counter(passages=len(chosen))
    tickets: list[Ticket] = []
    for chunk, reply in zip(chosen, replies, strict=True):
        pairs = _pairs(reply)
        if pairs is None:
            counts["dropped: the reply is not as asked"] += 1
            continue
        for number, pair in enumerate(pairs, start=1):
            counts["pairs"] += 1
            if reason := _objection(pair, chunk, writing.min_support):
                counts[f"dropped: {reason}"] += 1
            else:
                tickets.append(_ticket(pair, chunk, f"{title}:{chunk.id}.{number}"))
    repeated = {pair.second for pair in near_duplicates([t.question for t in tickets])}
    if repeated:
        counts["dropped: it repeats another question"] = len(repeated)
    kept = [ticket for place, ticket in enumerate(tickets) if place not in repeated]
    counts["kept"] = len(kept)
    return Written(kept, counts)


def _draw(chunks: Sequence[Chunk], writing: Writing) -> list[Chunk]:
    ordered = sorted(chunks, key=lambda c: c.id)
    if not writing.passages or writing.passages >= len(ordered):
        return ordered
    return random.Random(writing.seed).sample(ordered, writing.passages)


async def _ask_all(
    chunks: Sequence[Chunk],
    engine: Engine,
    writing: Writing,
    cache: Path,
    report: Callable[[int, int], None],
) -> list[str]:
    turn = asyncio.Semaphore(writing.parallel)
    done = 0

    async def one(chunk: Chunk) -> str:
        nonlocal done
        async with turn:
            reply = await _reply(chunk, engine, writing, cache)
        done += 1
        report(done, len(chunks))
        return reply

    return list(await asyncio.gather(*(one(chunk) for chunk in chunks)))


async def _reply(chunk: Chunk, engine: Engine, writing: Writing, cache: Path) -> str:
    request = _request(chunk, writing)
    asked = [
        engine.name,
        [m.content for m in request.messages],
        request.schema,
        request.max_tokens,
        request.seed,
    ]
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    kept = cache / key[:2] / f"{key}.txt"
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    reply = "".join([piece.text async for piece in engine.stream(request)])
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(".part")
    part.write_text(reply, encoding="utf-8")
    part.replace(kept)  # whole or not at all: a torn reply would be believed
    return reply


def _request(chunk: Chunk, writing: Writing) -> Request:
    shown = passage(chunk)
    text = PASSAGE.format(
        marker=1, label=neutralise(shown.label), text=neutralise(shown.text.strip())
    )
    pair = {
        "question": {"type": "string"},
        "answer": dict(writing.schema or {"type": "string"}),
        "quote": {"type": "string"},
    }
    item = {"type": "object", "properties": pair, "required": list(pair)}
    pairs = {"type": "array", "items": item, "minItems": 1, "maxItems": writing.per_passage}
    return Request(
        [
            Message("system", SYSTEM),
            Message("user", TASK.format(passage=text, count=writing.per_passage)),
        ],
        max_tokens=TOKENS_A_PAIR * writing.per_passage,
        seed=writing.seed,
        schema={"type": "object", "properties": {"pairs": pairs}, "required": ["pairs"]},
    )


def _pairs(reply: str) -> list[dict[str, Any]] | None:
    """Return the pairs of a reply; None where it is not what was asked for."""
    try:
        pairs = json.loads(reply)["pairs"]
    except (ValueError, KeyError, TypeError):
        return None
    fits = isinstance(pairs, list) and all(
        isinstance(pair, dict)
        and isinstance(pair.get("question"), str)
        and isinstance(pair.get("answer"), str | dict)
        and isinstance(pair.get("quote"), str)
        for pair in pairs
    )
    return pairs if fits else None


def _objection(pair: Mapping[str, Any], chunk: Chunk, min_support: float) -> str:
    question, quote = pair["question"].strip(), " ".join(pair["quote"].split()).casefold()
    if not question or not pair["answer"]:
        return "question or answer is empty"
    if any(word in question.casefold() for word in MENTIONS):
        return "the question speaks of the passage"
    if not quote or quote not in " ".join(chunk.text.split()).casefold():
        return "the quote is not in the passage"
    if support(answer_text(pair["answer"]), question, chunk.context) < min_support:
        return "the passage does not support the answer"
    return ""


def _ticket(pair: Mapping[str, Any], chunk: Chunk, name: str) -> Ticket:
    return Ticket(
        id=name,
        question=pair["question"].strip(),
        answer=pair["answer"],
        documents=(chunk.source,),
        facts=((pair["quote"].strip(),),),
    )
