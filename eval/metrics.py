"""Scorers: each is a function from a question and an answer to a `Score`."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assistant.answer import Answer
from eval.cache import Cache
from eval.outcome import Outcome
from eval.overlap import (
    citation_precision,
    citation_recall,
    retrieval_precision,
    retrieval_recall,
    rouge,
)
from eval.price import Prices
from eval.question import Quantity, Question
from eval.recipe import Arm
from eval.score import COSTS, METRICS, Score
from eval.wording import all_text, holds, parsed, spoken, states
from ingest.embed import Embedder
from ingest.extras import require


def facts_right(question: Question, answer: Answer) -> Score:
    """1 when every key fact is stated, else 0; None when the question has no key facts."""
    if not question.facts:
        return Score(None, "the question has no key facts")
    missing = _missing(question, answer)
    if missing:
        return Score(0.0, f"missing: {'; '.join(missing)}")
    return Score(1.0, f"states {'; '.join(_name(fact) for fact in question.facts)}")


def facts_stated(question: Question, answer: Answer) -> Score:
    """Share of the key facts that are stated, 0 to 1; None when the question has no key facts."""
    if not question.facts:
        return Score(None, "the question has no key facts")
    stated = len(question.facts) - len(_missing(question, answer))
    return Score(stated / len(question.facts), f"{stated} of {len(question.facts)}")


def _missing(question: Question, answer: Answer) -> list[str]:
    text = all_text(answer.answer)
    return [_name(fact) for fact in question.facts if not says(text, fact)]


def says(text: str, fact: tuple[str, ...] | Quantity) -> bool:
    """Return whether `text` states a key fact, in one of its spellings or as a quantity."""
    if isinstance(fact, Quantity):
        return states(text, fact.value, fact.unit, fact.tolerance)
    return any(holds(text, spelling) for spelling in fact)


def _name(fact: tuple[str, ...] | Quantity) -> str:
    return str(fact) if isinstance(fact, Quantity) else fact[0]


def format_valid(question: Question, answer: Answer, house: Mapping[str, Any] | None) -> Score:
    """1 when the answer is JSON that fits the question's schema, or else the house schema."""
    import jsonschema

    schema = question.json_schema if question.json_schema is not None else house
    if schema is None:
        return Score(None, "there is no schema to measure against")
    value = parsed(answer.answer)
    if value is None:
        return Score(0.0, "not JSON")
    validator = jsonschema.validators.validator_for(schema)(schema)
    problem = jsonschema.exceptions.best_match(validator.iter_errors(value))
    if problem is None:
        return Score(1.0, "fits the schema")
    return Score(0.0, f"{problem.json_path}: {problem.message[:200]}")


def grounded(question: Question, facts: Score, form: Score) -> Score:
    """1 when facts and format are both right; answerable questions with key facts only."""
    if not question.answerable or facts.value is None:
        return Score(None, "only answerable questions with key facts")
    if form.value is None:
        return Score(None, form.why)
    return Score(float(facts.value == 1 and form.value == 1), f"{facts.why}; {form.why}")


def abstention(question: Question, answer: Answer) -> Score:
    """1 when the assistant abstained exactly if the question has no answer."""
    said = "abstained" if answer.abstained else "answered"
    asked = "answerable" if question.answerable else "unanswerable"
    return Score(float(answer.abstained != question.answerable), f"{said}; {asked}")


def chrf(question: Question, answer: Answer) -> Score:
    """Character n-grams in common with the reference: sacrebleu's chrF, 0 to 1."""
    if not question.reference:
        return Score(None, "no reference")
    text = spoken(answer.answer).strip()
    if not text:
        return Score(0.0, "the answer is empty")
    found = require("sacrebleu", extra="eval").sentence_chrf(text, [question.reference])
    return Score(float(found.score) / 100, "character n-grams in common")


def ndcg(question: Question, answer: Answer, *, shown: bool) -> Score:
    """How high the named documents stand among those shown, 0 to 1.

    Normalised discounted cumulative gain over documents (Jarvelin and Kekalainen, 2002), each
    counted at its best passage; a named document that is not shown lowers it.
    """
    if not shown:
        return Score(None, "this arm is shown no passages")
    if not question.documents:
        return Score(None, "the question names no document")
    ranked = list(dict.fromkeys(evidence.source for evidence in answer.evidence))
    named = set(question.documents)
    if not named & set(ranked):
        return Score(0.0, "no named document is shown")
    pool = [*ranked, *sorted(named - set(ranked))]
    if len(pool) == 1:
        return Score(1.0, "1")  # the library wants two documents to rank
    gains = [[float(source in named) for source in pool]]
    ranks = [[float(len(pool) - n) for n in range(len(pool))]]
    measure = require("sklearn.metrics", extra="eval").ndcg_score
    places = ", ".join(str(n) for n, source in enumerate(ranked, start=1) if source in named)
    return Score(float(measure(gains, ranks, k=len(ranked))), f"at place {places}")


def house_terms(answer: Answer, avoided: Sequence[str]) -> Score:
    """1 when no avoided wording occurs; None without a house vocabulary."""
    if not avoided:
        return Score(None, "no house vocabulary given")
    text = all_text(answer.answer)
    used = [word for word in avoided if holds(text, word)]
    return Score(float(not used), f"uses {', '.join(used)}" if used else "no avoided wording")


def similarities(
    questions: Sequence[Question], answers: Sequence[Answer], embedder: Embedder, cache: Cache
) -> list[Score]:
    """Return the cosine between each answer's words and its reference, -1 to 1.

    Texts that were compared before are not embedded again.
    """
    texts = [spoken(answer.answer).strip() for answer in answers]
    rows = [i for i, q in enumerate(questions) if q.reference and texts[i]]
    scores = [
        Score(None, "no reference") if not q.reference else Score(0.0, "the answer is empty")
        for q in questions
    ]
    if not rows:
        return scores
    keys = {i: _pair_key(embedder.name, texts[i], questions[i].reference) for i in rows}
    known: dict[str, float] = cache.get(keys.values())
    new = {key: i for i, key in keys.items() if key not in known}
    if new:
        wanted = sorted({text for i in new.values() for text in (texts[i], questions[i].reference)})
        # One by one: the last bits of a vector depend on what is embedded beside it.
        vectors = {text: embedder.embed([text])[0] for text in wanted}
        cosines = {
            key: round(float(np.dot(vectors[texts[i]], vectors[questions[i].reference])), 6)
            for key, i in new.items()
        }
        cache.put(cosines)
        known |= cosines
    for i, key in keys.items():
        scores[i] = Score(known[key], "cosine to the reference")
    return scores


def _pair_key(model: str, *texts: str) -> str:
    return hashlib.sha256("\x00".join(("cosine alone", model, *texts)).encode()).hexdigest()


def score_all(
    questions: Mapping[str, Question],
    arms: Mapping[str, Arm],
    outcomes: Sequence[Outcome],
    *,
    schema: Mapping[str, Any] | None,
    avoided: Sequence[str],
    embedder: Embedder,
    cache: Cache,
    prices: Prices,
) -> list[dict[str, Score]]:
    """Return the scores of each outcome by metric, in the order given.

    A failed outcome has every score None, so that it is counted and not averaged.
    """
    answered = [(o, o.answer) for o in outcomes if o.answer is not None]
    cosines = similarities(
        [questions[o.question_id] for o, _ in answered], [a for _, a in answered], embedder, cache
    )
    cards: list[dict[str, Score]] = []
    left = iter(cosines)
    for outcome in outcomes:
        if outcome.answer is None:
            why = f"the arm failed: {outcome.error}"
            cards.append({m.name: Score(None, why) for m in (*METRICS, *COSTS)})
            continue
        question, answer = questions[outcome.question_id], outcome.answer
        card = _plain_scores(question, answer, schema, avoided)
        card["price"] = prices.of(answer)
        card["similarity"] = next(left)
        card["rouge"] = rouge(question, answer)
        shown = arms[outcome.arm].retrieves
        card["precision"] = retrieval_precision(question, answer, shown=shown)
        card["ndcg"] = ndcg(question, answer, shown=shown)
        card["recall"] = retrieval_recall(question, answer, shown=shown)
        card["citation_precision"] = citation_precision(question, answer, shown=shown)
        card["citation_recall"] = citation_recall(question, answer, shown=shown)
        cards.append(card)
    return cards


def _plain_scores(
    question: Question, answer: Answer, schema: Mapping[str, Any] | None, avoided: Sequence[str]
) -> dict[str, Score]:
    facts = facts_right(question, answer)
    form = format_valid(question, answer, schema)
    return {
        "facts": facts,
        "fact_share": facts_stated(question, answer),
        "chrf": chrf(question, answer),
        "format": form,
        "grounded": grounded(question, facts, form),
        "abstention": abstention(question, answer),
        "terms": house_terms(answer, avoided),
        "total_ms": Score(answer.timings.total, "wall time"),
        "first_token_ms": Score(answer.timings.first_token, "wall time")
        if answer.completion_tokens
        else Score(None, "no token was generated"),
        "words": Score(float(len(spoken(answer.answer).split())), "words of the answer"),
        "prompt_tokens": Score(float(answer.prompt_tokens), "counted by the engine"),
        "completion_tokens": Score(float(answer.completion_tokens), "counted by the engine"),
    }
