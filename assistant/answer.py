"""What goes into the assistant and what comes out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from assistant.choice import Choice
from assistant.prompt import Turn

Mode = Literal["base", "rag", "finetuned", "combined"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to the assistant."""

    question: str
    mode: Mode = "combined"
    collection: str = "default"
    adapter: str | None = None
    """`name`, `name:version` or `auto`; None takes the default one. Only for tuned modes."""
    history: tuple[Turn, ...] = ()
    """Earlier turns, oldest first; a follow-up is searched for with what it leans on in them."""
    examples: tuple[Turn, ...] = ()
    """Worked examples, shown before the history; the question does not follow on them."""
    filters: Mapping[str, str | Sequence[str]] | None = None
    """Only documents that fit are searched: key -> value, or several of which one must fit."""
    include_superseded: bool = False
    """Search documents as well that another one takes the place of."""
    top_k: int | None = None
    """Passages to show; None takes the configured number."""
    schema: Mapping[str, Any] | None = None
    """Constrain the answer to this JSON schema."""
    max_tokens: int | None = None
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Texts that end the answer; they are not part of it."""
    system: str = ""
    """More instructions, below the house's own. Tuned modes leave them out: an adapter is asked
    exactly what it was trained on."""
    forget: bool = False
    """Where the window is too small, leave out the oldest turns before any evidence."""
    request_id: str = ""
    """Names the answer; empty makes a name up."""
    repeatable: bool = False
    """What was asked before must not change the answer; evaluations ask so."""

    @property
    def tuned(self) -> bool:
        """Whether an adapter answers."""
        return self.mode in ("finetuned", "combined")


def parse_model(name: str) -> tuple[str, str | None]:
    """Split `combined:tickets:v2` into the mode and the adapter; a mode alone has none."""
    mode, _, adapter = name.partition(":")
    return mode, adapter or None


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage found for a question, as the model saw it."""

    marker: int
    """Its number in the prompt, from 1."""
    chunk_id: str
    document_id: str
    source: str
    title: str
    heading: str
    page: int | None
    start: int
    end: int
    text: str
    score: float
    """Fused rank score; comparable within one answer only."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A statement of the answer, tied to the words of a document."""

    marker: int
    chunk_id: str
    document_id: str
    source: str
    title: str
    heading: str
    page: int | None
    start: int
    end: int
    """`document.text[start:end] == quote`."""
    quote: str
    score: float
    """Share of the answer's telling words that the quote's passage holds, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Support:
    """A sentence of the answer that cited passages bear out."""

    text: str
    markers: tuple[int, ...]
    """The passages, best first."""
    score: float
    """Share of the sentence's telling words that they hold, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Place:
    """A document that was near, but not near enough."""

    document_id: str
    source: str
    title: str
    similarity: float | None
    """Cosine of its best passage to the question; None where only words matched."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What was looked through where the evidence is not enough."""

    collection: str
    documents: int
    """How many were searched."""
    nearest: tuple[Place, ...]

    def body(self) -> dict[str, Any]:
        """Return it as JSON, with a sentence for people in `text`."""
        found = "; ".join(place.title or place.source for place in self.nearest) or "nothing"
        documents = "1 document" if self.documents == 1 else f"{self.documents} documents"
        return {
            "collection": self.collection,
            "documents": self.documents,
            "nearest": [asdict(place) for place in self.nearest],
            "text": f"I searched {documents} in collection {self.collection}; nearest: {found}.",
        }


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds of wall time."""

    retrieve: float = 0.0
    first_token: float = 0.0
    """From the request to the engine until its first piece of text."""
    generate: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the assistant says, and what it rests on."""

    answer: str
    abstained: bool
    citations: tuple[Citation, ...]
    mode: Mode
    model: str
    adapter: str | None
    """`name:version` of the adapter that answered."""
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    timings: Timings
    evidence: tuple[Evidence, ...]
    """The passages in the prompt, in the order shown."""
    evidence_dropped: int
    """Passages that were found but left out because the window was full."""
    request_id: str
    strength: float | None = None
    """How likely the evidence is to be enough, 0 to 1; None without search or calibration."""
    searched: Searched | None = None
    """What was searched, where the evidence was too weak to ask the model."""
    raw: str = field(default="", repr=False)
    """The model's own words, before citations were attached."""
    support: tuple[Support, ...] = ()
    """The sentences that are cited, in their order."""
    markers_removed: int = 0
    """Passage numbers that the model wrote and that nothing bears out."""
    history_dropped: int = 0
    """Earlier turns that were left out because the window was full."""
    choice: Choice | None = None
    """How the adapter was chosen; None where the question had no part in it."""

    def body(self) -> dict[str, Any]:
        """Return the JSON body of `POST /api/ask`."""
        return {
            "answer": self.answer,
            "abstained": self.abstained,
            "citations": [
                {
                    "marker": c.marker,
                    "chunk_id": c.chunk_id,
                    "document_id": c.document_id,
                    "source": c.source,
                    "title": c.title,
                    "heading": c.heading,
                    "page": c.page,
                    "start": c.start,
                    "end": c.end,
                    "quote": c.quote,
                    "score": c.score,
                }
                for c in self.citations
            ],
            "support": [
                {"text": s.text, "markers": list(s.markers), "score": s.score} for s in self.support
            ],
            "markers_removed": self.markers_removed,
            "mode": self.mode,
            "model": self.model,
            "adapter": self.adapter,
            "choice": None if self.choice is None else self.choice.body(),
            "usage": {
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
            },
            "timings_ms": {
                "retrieve": round(self.timings.retrieve, 1),
                "first_token": round(self.timings.first_token, 1),
                "generate": round(self.timings.generate, 1),
                "total": round(self.timings.total, 1),
            },
            "evidence_dropped": self.evidence_dropped,
            "history_dropped": self.history_dropped,
            "strength": None if self.strength is None else round(self.strength, 4),
            "searched": None if self.searched is None else self.searched.body(),
            "request_id": self.request_id,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """An event of a streamed answer: what retrieval found, before the first word."""

    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """An event of a streamed answer: the next piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a streamed answer."""

    answer: Answer


Event = Found | Said | Finished
