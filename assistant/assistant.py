"""The orchestrator: question -> evidence -> prompt -> engine -> cited answer.

The four modes are one code path: `rag` and `combined` retrieve, `finetuned` and `combined` switch
an adapter on. Nothing else differs between them.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from assistant.adapter import AUTO, Adapter, AdapterStore, check_engine, check_fit
from assistant.answer import (
    MODES,
    Answer,
    Ask,
    Event,
    Evidence,
    Finished,
    Found,
    Said,
    Searched,
    Timings,
)
from assistant.choice import Choice, Chooser
from assistant.citations import cite, fill, mark, spoken, strip_markers, support, unsupported
from assistant.condense import condense
from assistant.engines.engine import Engine, Message, Request, Usage
from assistant.evidence import Judge, Verdict, evidence_of, searched
from assistant.hit import Hit
from assistant.prompt import Passage, build_messages, neutralise
from assistant.prose import Prose
from assistant.retrieve import Retriever
from ingest.errors import EngineError, NotFoundError, TooLargeError


@dataclass(frozen=True, slots=True)
class Voice:
    """How the assistant speaks."""

    system: str
    refusal: str
    """An answer that holds this sentence has abstained."""
    abstention: str
    """The whole answer when the evidence is too weak to ask the model."""
    schema: Mapping[str, Any] | None
    """The house format, if there is one. It is enforced only where a request says so."""
    max_tokens: int
    prompt_fingerprint: str
    """What an adapter that speaks so must have been trained with."""


@dataclass(frozen=True, slots=True)
class Voices:
    """How the assistant speaks: in every mode the same, but for adapters with a voice of theirs."""

    own: Voice
    others: Mapping[str, Voice]
    """By the adapter's name."""

    def of(self, adapter: Adapter | None) -> Voice:
        """Return how `adapter` speaks, or who answers without one."""
        return self.own if adapter is None else self.others.get(adapter.name, self.own)


@dataclass(frozen=True, slots=True)
class Contract:
    """What an adapter must have been trained for to be served here."""

    base_sha256: str
    engine: str
    """The kind of engine that serves."""


class _Settled(NamedTuple):
    """Who answers a question."""

    ask: Ask
    """Where no adapter was near enough, in the mode that needs none."""
    adapter: Adapter | None
    voice: Voice
    choice: Choice | None


class _Fitted(NamedTuple):
    """A prompt that fits into the window."""

    messages: list[Message]
    evidence: tuple[Evidence, ...]
    dropped: int
    """Passages left out."""
    forgotten: int
    """Turns left out, the oldest."""


class Assistant:
    """Answers questions from evidence, with or without a tuned adapter."""

    def __init__(
        self,
        retriever: Retriever,
        engine: Engine,
        adapters: AdapterStore,
        voices: Voices,
        contract: Contract,
        *,
        top_k: int,
        judge: Judge,
        chooser: Chooser,
        default_adapter: str = "",
    ) -> None:
        """Put the parts together.

        `default_adapter` answers where a request names none: as in a request, or empty for the one
        in production, or the newest.
        """
        self._retriever = retriever
        self._engine = engine
        self._adapters = adapters
        self._voices = voices
        self._contract = contract
        self._top_k = top_k
        self._judge = judge
        self._chooser = chooser
        self._default_adapter = default_adapter

    async def answer(self, ask: Ask) -> Answer:
        """Return the whole answer.

        Raises:
            NotFoundError: no such mode or adapter.
            MismatchError: the adapter was trained for another prompt or base model.
            TooLargeError: the question alone does not fit into the window.
            EngineError: the model failed.
        """
        async for event in self.stream(ask):
            if isinstance(event, Finished):
                return event.answer
        raise EngineError("The answer ended before it was finished.")

    async def stream(self, ask: Ask) -> AsyncIterator[Event]:
        """Yield what was found, then the text as it comes, then the finished answer.

        The first event comes once the model has begun to answer. Raises as `answer` does; an error
        after the first event means that there is no answer.
        """
        started = time.perf_counter()
        if ask.mode not in MODES:
            raise NotFoundError(f"There is no mode {ask.mode!r}. There are: {', '.join(MODES)}.")
        # Both read files and compute; the event loop has other requests to serve meanwhile.
        settled = await asyncio.to_thread(self._settled, ask)
        ask = settled.ask
        hits = await asyncio.to_thread(self._hits, ask)
        retrieved = time.perf_counter()
        verdict = None
        if hits is not None:
            verdict = await asyncio.to_thread(self._verdict, ask, hits)
            if not verdict.enough:
                yield Found(())
                yield Said(settled.voice.abstention)
                looked = await asyncio.to_thread(self._searched, ask, hits)
                yield Finished(self._abstention(settled, verdict, looked, started, retrieved))
                return
        fitted = await self._fit(settled, hits or [])
        request = self._request(settled, fitted.messages)
        asked = time.perf_counter()
        parts: list[str] = []
        prose = Prose()
        usage: Usage | None = None
        async with aclosing(self._engine.stream(request)) as pieces:  # type: ignore[type-var]
            # Nothing is said before the model speaks: until then, no room, no server or no model
            # is an ordinary error and not a stream that breaks.
            piece = await anext(pieces, None)
            first = time.perf_counter() if piece is not None and piece.text else None
            yield Found(fitted.evidence)
            while piece is not None:
                if piece.text:
                    first = first or time.perf_counter()
                    parts.append(piece.text)
                    if shown := prose.push(piece.text):
                        yield Said(shown)
                usage = piece.usage or usage
                piece = await anext(pieces, None)
        done = time.perf_counter()
        if usage is None:
            raise EngineError(f"{self._engine.name} ended without saying that it was finished.")
        timings = Timings(
            retrieve=(retrieved - started) * 1000,
            first_token=((first or done) - asked) * 1000,
            generate=(done - asked) * 1000,
            total=(done - started) * 1000,
        )
        raw = "".join(parts).strip()
        strength = None if verdict is None else verdict.strength
        answer = self._finished(settled, strength, raw, fitted, usage, timings)
        if rest := prose.rest(answer.answer):
            yield Said(rest)
        yield Finished(answer)

    def _request(self, settled: _Settled, messages: Sequence[Message]) -> Request:
        ask = settled.ask
        return Request(
            messages=messages,
            max_tokens=self._max_tokens(settled),
            temperature=ask.temperature,
            seed=ask.seed,
            stop=ask.stop,
            schema=ask.schema,
            adapter=None if settled.adapter is None else settled.adapter.file,
            repeatable=ask.repeatable,
        )

    def _settled(self, ask: Ask) -> _Settled:
        adapter = choice = None
        if ask.tuned:
            wanted = ask.adapter or self._default_adapter or None
            if wanted == AUTO:
                choice = self._chooser.choose(_sought(ask), self._check)
                wanted = choice.adapter
            if choice is None or wanted is not None:
                adapter = self._adapters.get(wanted)
                self._check(adapter)
            else:
                ask = replace(ask, mode="rag" if ask.mode == "combined" else "base")
        return _Settled(ask, adapter, self._voices.of(adapter), choice)

    def _check(self, adapter: Adapter) -> None:
        """Refuse an adapter that does not serve here as it was trained."""
        check_fit(
            adapter,
            prompt_fingerprint=self._voices.of(adapter).prompt_fingerprint,
            base_sha256=self._contract.base_sha256,
        )
        check_engine(adapter, self._adapters.aliases(adapter.name), self._contract.engine)

    def _hits(self, ask: Ask) -> list[Hit] | None:
        """Return what was found; None where the mode does not look."""
        if ask.mode in ("base", "finetuned"):
            return None
        k = self._top_k if ask.top_k is None else ask.top_k
        return self._retriever.evidence(
            _sought(ask),
            k=k,
            collection=ask.collection,
            filters=ask.filters,
            include_superseded=ask.include_superseded,
        )

    def _verdict(self, ask: Ask, hits: Sequence[Hit]) -> Verdict:
        return self._judge.verdict(_sought(ask), hits, ask.collection)

    def _searched(self, ask: Ask, hits: Sequence[Hit]) -> Searched:
        documents = self._retriever.documents(collection=ask.collection, filters=ask.filters)
        return searched(hits, collection=ask.collection, documents=documents)

    def _max_tokens(self, settled: _Settled) -> int:
        asked = settled.ask.max_tokens
        wanted = settled.voice.max_tokens if asked is None else asked
        return min(wanted, self._engine.context_tokens // 2)

    async def _fit(self, settled: _Settled, hits: Sequence[Hit]) -> _Fitted:
        """Build the prompt; where the window is too small, the weakest evidence goes first.

        With `ask.forget`, the oldest turns go before it.
        """
        ask = settled.ask
        room = self._engine.context_tokens - self._max_tokens(settled)
        turns = len(ask.history)
        sizes = [(kept, 0 if ask.forget else turns) for kept in range(len(hits) - 1, -1, -1)]
        remembered = range(turns, -1, -1) if ask.forget else [turns]
        for kept, recent in [*((len(hits), n) for n in remembered), *sizes]:
            evidence = evidence_of(hits[:kept])
            messages = build_messages(
                _system(ask, settled.voice),
                ask.question,
                [_passage(e) for e in evidence],
                history=(*ask.examples, *ask.history[turns - recent :]),
            )
            tokens = len(await self._engine.prompt_tokens(messages))
            if tokens <= room:
                return _Fitted(messages, evidence, len(hits) - kept, turns - recent)
        raise TooLargeError(
            f"The question and its history take {tokens} tokens; the window has room for {room}.",
            hint="Ask a shorter question, or raise engine.context_tokens.",
        )

    def _finished(
        self,
        settled: _Settled,
        strength: float | None,
        raw: str,
        fitted: _Fitted,
        usage: Usage,
        timings: Timings,
    ) -> Answer:
        ask, adapter, voice, choice = settled
        words = spoken(raw)
        abstained = voice.refusal.casefold() in " ".join(words.split()).casefold()
        plain = strip_markers(words)
        citations = () if abstained else cite(plain, ask.question, fitted.evidence)
        schema = ask.schema or voice.schema
        return Answer(
            answer=mark(plain, citations) if words == raw else fill(raw, schema, citations),
            abstained=abstained,
            citations=citations,
            mode=ask.mode,
            model=self._engine.name,
            adapter=None if adapter is None else adapter.reference,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            finish_reason=usage.finish_reason,
            timings=timings,
            evidence=fitted.evidence,
            evidence_dropped=fitted.dropped,
            request_id=ask.request_id or uuid.uuid4().hex,
            strength=strength,
            raw=raw,
            support=support(plain, ask.question, fitted.evidence, citations),
            markers_removed=unsupported(raw, schema, citations),
            history_dropped=fitted.forgotten,
            choice=choice,
        )

    def _abstention(
        self,
        settled: _Settled,
        verdict: Verdict,
        looked: Searched,
        started: float,
        retrieved: float,
    ) -> Answer:
        ask, adapter, voice, choice = settled
        return Answer(
            answer=voice.abstention,
            abstained=True,
            citations=(),
            mode=ask.mode,
            model=self._engine.name,
            adapter=None if adapter is None else adapter.reference,
            prompt_tokens=0,
            completion_tokens=0,
            finish_reason="abstained",
            timings=Timings(
                retrieve=(retrieved - started) * 1000,
                total=(time.perf_counter() - started) * 1000,
            ),
            evidence=(),
            evidence_dropped=0,
            request_id=ask.request_id or uuid.uuid4().hex,
            strength=verdict.strength,
            searched=looked,
            raw="",
            choice=choice,
        )


def _system(ask: Ask, voice: Voice) -> str:
    if not ask.system or ask.tuned:
        return voice.system
    return f"{voice.system}\n\n{neutralise(ask.system)}"


def _sought(ask: Ask) -> str:
    """Return what is searched for: the question with what it leans on in earlier ones."""
    return condense(ask.question, [turn.question for turn in ask.history])


def _passage(evidence: Evidence) -> Passage:
    label = " > ".join(part for part in (evidence.title, evidence.heading) if part)
    return Passage(label, evidence.text)
