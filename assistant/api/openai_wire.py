"""What goes over the wire under `/v1`: OpenAI's chat completions, and what we add to them.

A parameter that would change the answer and that no engine here can honour is refused by name
rather than passed over: an answer that ignored it would look like one that did not.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from assistant.answer import Ask, parse_model
from assistant.api.schema import checked_schema
from assistant.api.text import check_text
from assistant.api.wire import AdapterChoiceReply, CitationReply, SupportReply, TimingsReply
from assistant.prompt import Turn

MAX_MESSAGES = 200
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "top_p": (None, 1, 1.0),
    "presence_penalty": (None, 0, 0.0),
    "frequency_penalty": (None, 0, 0.0),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "web_search_options": (None,),
}
"""Parameters of OpenAI's that are not supported, with the values that ask for nothing."""
IGNORED = {
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
}
"""Parameters that say something about the caller or the bill, not about the answer."""


class Lenient(BaseModel):
    """A part of a request that may hold more than we read."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)


class TextPart(BaseModel):
    """A piece of a message; pictures and sound are not understood."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class ChatMessage(Lenient):
    """A turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """The words alone."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class JsonSchema(Lenient):
    """A named schema."""

    name: str = "answer"
    schema_: dict[str, Any] = Field(alias="schema")

    @field_validator("schema_")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        return checked_schema(schema)


class ResponseFormat(Lenient):
    """`text`, `json_object`, or `json_schema` with the schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("give the schema as json_schema.schema")
        return self

    @property
    def schema_wanted(self) -> dict[str, Any] | None:
        """What the answer is held to."""
        if self.type == "json_object":
            return {"type": "object"}
        return None if self.json_schema is None else self.json_schema.schema_


class StreamOptions(Lenient):
    """How a stream ends."""

    include_usage: bool = False
    """Send the tokens in a last chunk without choices."""


class ChatBody(BaseModel):
    """A chat completion request of OpenAI's, with `collection` and `top_k` of ours."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    model: str = Field(min_length=1, max_length=200)
    """An arm, or a tuned arm with its adapter: `rag`, `combined:house:v2`, `combined:auto`."""
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    """The conversation; the last message is the user's question."""
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    """The newer name of `max_tokens`; it wins where both are given."""
    stop: str | list[str] | None = None
    """Up to four texts that end the answer."""
    seed: int | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    """0 where left out: the likeliest words, the same each time."""
    collection: str | None = None
    """Where `rag` and `combined` look; ours, not OpenAI's."""
    top_k: int | None = Field(default=None, ge=1, le=50)
    """Passages to show to the model; ours, not OpenAI's."""

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        check_text(value)
        return value

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if isinstance(stop, list) and len(stop) > 4:
            raise ValueError("at most 4 texts can end an answer")
        return stop

    @model_validator(mode="after")
    def _nothing_unsupported(self) -> Self:
        for name, value in (self.model_extra or {}).items():
            if name in NEUTRAL:
                if value not in NEUTRAL[name]:
                    raise ValueError(f"{name} is not supported; leave it out")
            elif name not in IGNORED:
                raise ValueError(f"{name}: there is no such field")
        return self

    @model_validator(mode="after")
    def _ends_with_a_question(self) -> Self:
        talk = [m for m in self.messages if m.role in ("user", "assistant")]
        if not talk or talk[-1].role != "user" or not talk[-1].text.strip():
            raise ValueError("the last of the messages must be the user's question")
        if talk[0].role == "assistant":
            raise ValueError("messages: the first answer has no question before it")
        return self

    def ask(self, collection: str, request_id: str) -> Ask:
        """Return the question as the assistant takes it."""
        mode, adapter = parse_model(self.model)
        *earlier, question = _turns(self.messages)
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Ask(
            question=question.question,
            mode=mode,  # type: ignore[arg-type]  # the assistant says which modes there are
            collection=collection,
            adapter=adapter,
            history=tuple(earlier),
            top_k=self.top_k,
            schema=None if self.response_format is None else self.response_format.schema_wanted,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            temperature=self.temperature or 0.0,
            seed=(self.seed or 0) % 2**32,  # OpenAI takes 64 bits with a sign, llama.cpp 32
            stop=tuple(text for text in stop if text),
            system="\n\n".join(m.text for m in self.messages if m.role in ("system", "developer")),
            forget=True,
            request_id=request_id,
        )


def _turns(messages: list[ChatMessage]) -> list[Turn]:
    """Pair questions with answers; the last one has no answer yet.

    Neighbouring messages of one speaker are one message.
    """
    turns: list[Turn] = []
    before = ""
    for message in messages:
        if message.role not in ("user", "assistant"):
            continue
        if message.role == "user" and before == "user":
            turns[-1] = Turn(f"{turns[-1].question}\n\n{message.text}", "")
        elif message.role == "user":
            turns.append(Turn(message.text, ""))
        else:
            said = f"{turns[-1].answer}\n\n{message.text}".strip()
            turns[-1] = Turn(turns[-1].question, said)
        before = message.role
    return turns


class Reply(BaseModel):
    """What we send; documented in full by its fields."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class UrlCitation(Reply):
    """Where a marker stands in the answer, and what it points at."""

    start_index: int
    end_index: int
    title: str
    url: str


class AnnotationReply(Reply):
    """A citation as OpenAI writes it."""

    type: Literal["url_citation"]
    url_citation: UrlCitation


class MessageReply(Reply):
    """The answer."""

    role: Literal["assistant"]
    content: str
    refusal: None = None
    annotations: list[AnnotationReply]


class ChoiceReply(Reply):
    """The only choice."""

    index: int
    message: MessageReply
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class ChatUsage(Reply):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Grounding(Reply):
    """What OpenAI's shape has no place for: the field `groundtune`."""

    request_id: str
    """Feedback names the answer by it."""
    mode: str
    adapter: str | None
    choice: AdapterChoiceReply | None
    abstained: bool
    citations: list[CitationReply]
    support: list[SupportReply]
    markers_removed: int
    evidence_dropped: int
    history_dropped: int
    system: Literal["none", "added", "left_out"]
    """What became of the request's system messages."""
    timings_ms: TimingsReply


class ChatReply(Reply):
    """A chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChoiceReply]
    usage: ChatUsage
    groundtune: Grounding


class ModelReply(Reply):
    """An arm, or an arm with an adapter."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsReply(Reply):
    """All that `model` can be."""

    object: Literal["list"]
    data: list[ModelReply]
