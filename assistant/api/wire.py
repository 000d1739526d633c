"""What goes over the wire: asking and searching; other nouns have files beside this one.

Stored and computed things have types of their own elsewhere.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from assistant.answer import Ask, parse_model
from assistant.api.schema import checked_schema
from assistant.api.text import check_text
from assistant.prompt import Turn


class Wire(BaseModel):
    """A body: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Body(Wire):
    """A body that somebody sends to us."""

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        check_text(value)
        return value


class TurnBody(Wire):
    """An earlier question with its answer."""

    question: str
    answer: str


class AskBody(Body):
    """A question to the assistant."""

    question: str = Field(min_length=1)
    """What is asked; its greatest length is `limits.question_chars`."""
    mode: str = "combined"
    """`base`, `rag`, `finetuned` or `combined`."""
    model: str | None = None
    """Mode and adapter in one word, `combined:tickets:v2`; in place of `mode` and `adapter`."""
    collection: str = "default"
    """Where `rag` and `combined` look."""
    adapter: str | None = None
    """`name`, `name:version`, `name@production`, or `auto` for the one that the question is for; if
    left out, the one configured, else the one in production, else the newest. Only for tuned
    modes."""
    history: list[TurnBody] = Field(default=[], max_length=50)
    """Earlier turns, oldest first."""
    forget: bool = False
    """Where the window is too small, leave out the oldest turns before any evidence; else such a
    request is refused."""
    top_k: int | None = Field(default=None, ge=1, le=50)
    """Passages to show to the model; the configured number if left out."""
    filters: dict[str, str | list[str]] = {}
    """Search only documents that fit: `source` (a glob), `kind`, `title`, `document_id` or a key of
    their metadata -> a value, or several of which one must fit."""
    include_superseded: bool = False
    """Search documents as well that another one takes the place of."""
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    """A JSON schema that the answer is held to."""
    stream: bool = False
    """Send `evidence`, `text`, ... and `done` as server-sent events."""

    @field_validator("schema_")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if schema is None else checked_schema(schema)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.model is not None and self.model_fields_set & {"mode", "adapter"}:
            raise ValueError("give either `model` or `mode` and `adapter`")
        return self

    def ask(self, request_id: str = "") -> Ask:
        """Return the question as the assistant takes it."""
        mode, adapter = (self.mode, self.adapter) if self.model is None else parse_model(self.model)
        return Ask(
            question=self.question,
            mode=mode,  # type: ignore[arg-type]  # the assistant says which modes there are
            collection=self.collection,
            adapter=adapter,
            history=tuple(Turn(turn.question, turn.answer) for turn in self.history),
            forget=self.forget,
            top_k=self.top_k,
            filters=self.filters or None,
            include_superseded=self.include_superseded,
            schema=self.schema_,
            request_id=request_id,
        )


class SearchBody(Body):
    """A search for passages."""

    query: str = Field(min_length=1)
    """What is looked for; its greatest length is `limits.question_chars`."""
    k: int | None = Field(default=None, ge=1, le=100)
    """Passages wanted; the configured number if left out."""
    collection: str = "default"
    filters: dict[str, str | list[str]] = {}
    """Search only documents that fit: `source` (a glob), `kind`, `title`, `document_id` or a key of
    their metadata -> a value, or several of which one must fit."""
    include_superseded: bool = False
    """Show passages of superseded documents as well, behind the current ones."""
    explain: bool = False
    """Say how each passage came to its place, and what was left out."""


class Place(Wire):
    """Where in a document something stands."""

    chunk_id: str
    document_id: str
    source: str
    title: str
    heading: str
    page: int | None
    start: int
    end: int
    score: float


class CitationReply(Place):
    """A statement of an answer, tied to the words of a document."""

    marker: int
    quote: str


class SupportReply(Wire):
    """A sentence of the answer that cited passages bear out."""

    text: str
    markers: list[int]
    score: float
    """Share of its telling words that the passages hold, 0 to 1."""


class UsageReply(Wire):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int


class TimingsReply(Wire):
    """Milliseconds."""

    retrieve: float
    first_token: float
    generate: float
    total: float


class NearReply(Wire):
    """A document that was near, but not near enough."""

    document_id: str
    source: str
    title: str
    similarity: float | None


class SearchedReply(Wire):
    """What was looked through in vain."""

    collection: str
    documents: int
    nearest: list[NearReply]
    text: str
    """The same as a sentence."""


class AdapterChoiceReply(Wire):
    """How an adapter was chosen."""

    adapter: str | None
    """Null where none is near enough; the answer's mode is then the one that needs none."""
    threshold: float
    """The least cosine that is near enough: `answer.adapter_similarity`."""
    scores: dict[str, float]
    """`name:version` -> cosine of the question to its nearest training questions, best first."""
    left_out: dict[str, str]
    """`name:version` -> why it could not be chosen."""
    text: str
    """The same as a sentence."""


class AskReply(Wire):
    """An answer, and what it rests on."""

    answer: str
    abstained: bool
    citations: list[CitationReply]
    support: list[SupportReply]
    """The sentences that are cited, in their order."""
    markers_removed: int
    """Passage numbers that the model wrote and that nothing bears out."""
    mode: str
    model: str
    adapter: str | None
    choice: AdapterChoiceReply | None
    """How `auto` chose it; null where it was not asked to."""
    usage: UsageReply
    timings_ms: TimingsReply
    evidence_dropped: int
    """Passages that were found but did not fit into the window."""
    history_dropped: int
    """Earlier turns that did not fit; only `/v1` and `forget` leave any out."""
    strength: float | None
    """How likely the evidence is to be enough, 0 to 1; null without search or calibration."""
    searched: SearchedReply | None
    """What was searched, where the evidence was too weak to ask the model."""
    request_id: str


class CopyReply(Wire):
    """Another document with the same passage, or nearly the same."""

    chunk_id: str
    document_id: str
    source: str
    title: str
    start: int
    end: int


class ExplanationReply(Wire):
    """How a passage came to its place."""

    dense_rank: int | None
    cosine: float | None
    bm25_rank: int | None
    bm25: float | None
    fused: float
    """Half dense_weight * cosine / best cosine + (1 - dense_weight) * BM25 / best BM25, half the
    mean of 61 / (60 + rank) in both rankings."""
    dense_weight: float
    rerank: float | None


class HitReply(Place):
    """A passage found."""

    text: str
    also_in: list[CopyReply]
    superseded_by: str | None
    """Source of the newest document in the place of this one's."""
    explanation: ExplanationReply | None = None


class DroppedReply(HitReply):
    """A passage that was found above the last one shown, and left out."""

    why: str
    """`duplicate` or `superseded`."""
    by: str
    """Source of the document that is shown instead."""


class SearchReply(Wire):
    """Passages found, best first."""

    hits: list[HitReply]
    dropped: list[DroppedReply] | None = None
    """What was left out, where an explanation was asked for."""


class ReadyReply(Wire):
    """Whether the service can work."""

    ready: bool
    parts: dict[str, str]
    """`ok`, or what is wrong."""
