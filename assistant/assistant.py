"""The orchestrator: question -> evidence -> prompt -> engine -> cited answer.

The four modes are one code path: `rag` and `combined` retrieve, `finetuned` and `combined` switch
an adapter on. Nothing else differs between them.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assistant.adapter import Adapter, AdapterStore, check_fit
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
from assistant.citations import cite, fill, mark, spoken, strip_markers
from assistant.condense import condense
from assistant.engines.engine import Engine, Message, Request, Usage
from assistant.evidence import Judge, Verdict, evidence_of, searched
from assistant.hit import Hit
from assistant.prompt import Passage, build_messages
from assistant.retrieve import Retriever
from ingest.errors import EngineError, NotFoundError, TooLargeError


@dataclass(frozen=True, slots=True)
class Voice:
    """How the assistant speaks; the same for every mode."""

    system: str
    refusal: str
    """An answer that holds this sentence has abstained."""
    abstention: str
    """The whole answer when the evidence is too weak to ask the model."""
    schema: Mapping[str, Any] | None
    """The house format, if there is one. It is enforced only where a request says so."""
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Contract:
    """What an adapter must have been trained with to be served here."""

    prompt_fingerprint: str
    base_sha256: str


class Assistant:
    """Answers questions from evidence, with or without a tuned adapter."""

    def __init__(
        self,
        retriever: Retriever,
        engine: Engine,
        adapters: AdapterStore,
        voice: Voice,
        contract: Contract,
        *,
        top_k: int,
        judge: Judge,
    ) -> None:
        self._retriever = retriever
        self._engine = engine
        self._adapters = adapters
        self._voice = voice
        self._contract = contract
        self._top_k = top_k
        self._judge = judge

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

        Raises as `answer` does; an error after the first event means that there is no answer.
        """
        started = time.perf_counter()
        if ask.mode not in MODES:
            raise NotFoundError(f"There is no mode {ask.mode!r}. There are: {', '.join(MODES)}.")
        # Both read files and compute; the event loop has other requests to serve meanwhile.
        adapter = await asyncio.to_thread(self._adapter, ask)
        hits = await asyncio.to_thread(self._hits, ask)
        retrieved = time.perf_counter()
        verdict = None
        if hits is not None:
            verdict = await asyncio.to_thread(self._verdict, ask, hits)
            if not verdict.enough:
                yield Found(())
                yield Said(self._voice.abstention)
                looked = await asyncio.to_thread(self._searched, ask, hits)
                yield Finished(self._abstention(ask, adapter, verdict, looked, started, retrieved))
                return
        messages, evidence, dropped = await self._fit(ask, hits or [])
        yield Found(evidence)
        request = Request(
            messages=messages,
            max_tokens=self._max_tokens(ask),
            temperature=ask.temperature,
            seed=ask.seed,
            schema=ask.schema,
            adapter=None if adapter is None else adapter.file,
        )
        asked = time.perf_counter()
        first: float | None = None
        parts: list[str] = []
        usage: Usage | None = None
        async for piece in self._engine.stream(request):
            if piece.text:
                first = first or time.perf_counter()
                parts.append(piece.text)
                yield Said(piece.text)
            usage = piece.usage or usage
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
        yield Finished(
            self._finished(ask, adapter, strength, raw, evidence, dropped, usage, timings)
        )

    def _adapter(self, ask: Ask) -> Adapter | None:
        if ask.mode in ("base", "rag"):
            return None
        adapter = self._adapters.get(ask.adapter)
        check_fit(
            adapter,
            prompt_fingerprint=self._contract.prompt_fingerprint,
            base_sha256=self._contract.base_sha256,
        )
        return adapter

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

    def _max_tokens(self, ask: Ask) -> int:
        wanted = self._voice.max_tokens if ask.max_tokens is None else ask.max_tokens
        return min(wanted, self._engine.context_tokens // 2)

    async def _fit(
        self, ask: Ask, hits: Sequence[Hit]
    ) -> tuple[list[Message], tuple[Evidence, ...], int]:
        """Build the prompt; where the window is too small, the weakest evidence goes first."""
        room = self._engine.context_tokens - self._max_tokens(ask)
        for kept in range(len(hits), -1, -1):
            evidence = evidence_of(hits[:kept])
            messages = build_messages(
                self._voice.system,
                ask.question,
                [_passage(e) for e in evidence],
                history=(*ask.examples, *ask.history),
            )
            tokens = len(await self._engine.prompt_tokens(messages))
            if tokens <= room:
                return messages, evidence, len(hits) - kept
        raise TooLargeError(
            f"The question and its history take {tokens} tokens; the window has room for {room}.",
            hint="Ask a shorter question, or raise engine.context_tokens.",
        )

    def _finished(
        self,
        ask: Ask,
        adapter: Adapter | None,
        strength: float | None,
        raw: str,
        evidence: tuple[Evidence, ...],
        dropped: int,
        usage: Usage,
        timings: Timings,
    ) -> Answer:
        words = spoken(raw)
        abstained = self._voice.refusal.casefold() in " ".join(words.split()).casefold()
        plain = strip_markers(words)
        citations = () if abstained else cite(plain, ask.question, evidence)
        if words == raw:
            answer = mark(plain, citations)
        else:
            answer = fill(raw, ask.schema or self._voice.schema, citations)
        return Answer(
            answer=answer,
            abstained=abstained,
            citations=citations,
            mode=ask.mode,
            model=self._engine.name,
            adapter=None if adapter is None else adapter.reference,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            finish_reason=usage.finish_reason,
            timings=timings,
            evidence=evidence,
            evidence_dropped=dropped,
            request_id=uuid.uuid4().hex,
            strength=strength,
            raw=raw,
        )

    def _abstention(
        self,
        ask: Ask,
        adapter: Adapter | None,
        verdict: Verdict,
        looked: Searched,
        started: float,
        retrieved: float,
    ) -> Answer:
        return Answer(
            answer=self._voice.abstention,
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
            request_id=uuid.uuid4().hex,
            strength=verdict.strength,
            searched=looked,
            raw="",
        )


def _sought(ask: Ask) -> str:
    """Return what is searched for: the question with what it leans on in earlier ones."""
    return condense(ask.question, [turn.question for turn in ask.history])


def _passage(evidence: Evidence) -> Passage:
    label = " > ".join(part for part in (evidence.title, evidence.heading) if part)
    return Passage(label, evidence.text)
