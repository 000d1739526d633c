"""Tickets and evidence become training rows."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from assistant.engines.engine import Message
from assistant.prompt import Passage, build_messages
from finetune.example import Example
from finetune.recipe import DataRecipe
from finetune.ticket import Ticket


class Found(NamedTuple):
    """A passage that the retriever found."""

    source: str
    """Path of its document, as tickets name it."""
    passage: Passage


Retrieve = Callable[[str, int], Sequence[Found]]
"""(question, how many) -> passages, best first: the retriever that serves."""

SPARE = 6
"""Hits asked for beyond those shown; they stand in for passages that are taken out."""


@dataclass(frozen=True, slots=True)
class House:
    """What every prompt and answer of the assistant has in common."""

    system: str
    abstention: str
    """The whole answer when there is none."""
    shown: int
    """Passages shown for a question."""


class Rows(NamedTuple):
    """The rows of one side of a split, and how many of each kind."""

    examples: list[Example]
    counts: Mapping[str, int]


def build_rows(
    tickets: Sequence[Ticket], retrieve: Retrieve, recipe: DataRecipe, house: House
) -> Rows:
    """Turn tickets into rows with the evidence that the assistant would show, in its order.

    Four kinds: `answer` (the passages hold the facts), `refusal` (nobody could answer),
    `insufficient` (the passages lack a fact, so the answer to learn is the refusal) and
    `no_evidence` (no passages; the ticket's answer without sources). Where the retriever by itself
    misses more often than `recipe.insufficient` says, the surplus tickets get no row with passages:
    learning mostly to refuse would cost more than their few rows give. Rows without passages are
    made of those first, so that they take nothing from the others. Unanswerable tickets beyond
    `recipe.refusals` get no row at all. `left_out` counts the tickets without any.
    """
    ranked = sorted(tickets, key=lambda t: lot(recipe.seed, t.id))
    refused = [t for t in ranked if not t.documents]
    surplus = {t.id for t in refused[round(recipe.refusals * len(refused)) :]}
    ranked = [t for t in ranked if t.id not in surplus]
    served = {} if recipe.without_evidence == 1 else _served(ranked, retrieve, recipe, house)
    bare = _bare(ranked, served, recipe.without_evidence)
    if 0 < recipe.without_evidence < 1 and len(bare) == len(ranked):
        share = 1 - recipe.without_evidence
        kept = round(len(bare) * share / recipe.without_evidence)
        served = dict(list(served.items())[:kept])
    rows: list[Example] = []
    counts: Counter[str] = Counter(no_evidence=len(bare))
    for ticket in ranked:
        if ticket.id in served:
            rows.append(served[ticket.id])
            counts[rows[-1].tags[-1]] += 1
        if ticket.id in bare:
            rows.append(without_evidence(ticket, recipe, house))
    counts["left_out"] = len(tickets) - len(served.keys() | bare)
    return Rows(rows, dict(counts))


def _served(
    ranked: Sequence[Ticket], retrieve: Retrieve, recipe: DataRecipe, house: House
) -> dict[str, Example]:
    """Return the rows that show passages, by ticket, in the order of `ranked`."""
    found = {t.id: retrieve(t.question, house.shown + SPARE) for t in ranked}
    answerable = [t for t in ranked if t.documents]
    missing = [t for t in answerable if not markers(t, found[t.id][: house.shown])]
    held = [t for t in answerable if t not in missing]
    quota = round(recipe.insufficient * len(answerable))
    robbed = held[: max(0, quota - len(missing))]
    rows = {}
    for ticket in ranked:
        shown = found[ticket.id][: house.shown]
        if not ticket.documents:
            kind, target = "refusal", answer_text(ticket.answer)
        elif ticket in missing[quota:]:
            continue
        elif ticket in missing or ticket in robbed:
            kind, target = "insufficient", house.abstention
            shown = without_facts(ticket, found[ticket.id])[: house.shown]
        else:
            kind, target = "answer", cited_answer(ticket, shown, recipe.citations_key)
        rows[ticket.id] = _example(ticket, shown, target, kind, house)
    return rows


def _bare(ranked: Sequence[Ticket], served: Mapping[str, Example], share: float) -> set[str]:
    """Return the tickets of the rows without passages, which are to be `share` of all rows.

    Tickets without another row come first, and refusals with them: a style without refusals would
    be another one.
    """
    if not share:
        return set()
    first = [t.id for t in ranked if t.id not in served or not t.documents]
    rest = [t.id for t in ranked if t.id in served and t.documents]
    wanted = len(ranked) if share == 1 else round(len(served) * share / (1 - share))
    return set([*first, *rest][:wanted])


def lot(seed: int, name: str) -> str:
    """Return a key that orders names at random: by the seed, never by where they stood."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def holds(text: str, spellings: Sequence[str]) -> bool:
    """Whether `text` says a fact in any accepted spelling; case and white space do not count."""
    flat = _flat(text)
    return any(_flat(spelling) in flat for spelling in spellings)


def markers(ticket: Ticket, shown: Sequence[Found]) -> list[int]:
    """Return the numbers, from 1, of the shown passages that an answer rests on.

    One passage that holds every fact is enough; else those that hold the facts between them.
    Passages of other documents never count. Empty when a fact is in none.
    """
    own = {
        marker: found.passage.text
        for marker, found in enumerate(shown, start=1)
        if found.source in ticket.documents
    }
    if not ticket.facts:
        return list(own)
    for marker, text in own.items():
        if all(holds(text, fact) for fact in ticket.facts):
            return [marker]
    needed: set[int] = set()
    for fact in ticket.facts:
        holders = [marker for marker, text in own.items() if holds(text, fact)]
        if not holders:
            return []
        if not needed & set(holders):
            needed.add(holders[0])
    return sorted(needed)


def without_facts(ticket: Ticket, found: Sequence[Found]) -> list[Found]:
    """Return the hits that hold none of the ticket's facts, in their order."""
    return [f for f in found if not any(holds(f.passage.text, fact) for fact in ticket.facts)]


def answer_text(answer: Mapping[str, Any] | str) -> str:
    """Return the text that the model learns to write: a text as it is, an object as JSON."""
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def cited_answer(ticket: Ticket, shown: Sequence[Found], key: str) -> str:
    """Return the answer with the numbers of its passages where the ticket names documents."""
    if isinstance(ticket.answer, str) or key not in ticket.answer:
        return answer_text(ticket.answer)
    return answer_text({**ticket.answer, key: markers(ticket, shown)})


def without_evidence(ticket: Ticket, recipe: DataRecipe, house: House) -> Example:
    """Return the row that shows no passages, and so can cite none."""
    answer = ticket.answer
    if not isinstance(answer, str) and recipe.citations_key in answer:
        answer = {**answer, recipe.citations_key: []}
    return _example(ticket, [], answer_text(answer), "no_evidence", house)


def _example(
    ticket: Ticket, shown: Sequence[Found], target: str, kind: str, house: House
) -> Example:
    passages = [found.passage for found in shown]
    prompt = build_messages(house.system, ticket.question, passages)
    return Example(
        (*prompt, Message("assistant", target)),
        ticket.id,
        (*ticket.tags, kind),
        tuple(passage.text for passage in passages),
    )


def _flat(text: str) -> str:
    return " ".join(text.casefold().split())
