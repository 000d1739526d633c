"""The seam behind which a language model generates."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """A tuned adapter as an engine loads it."""

    name: str
    """`name:version`; unique in a workspace."""
    gguf: Path
    """The LoRA in GGUF form."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an engine is asked to generate."""

    messages: Sequence[Message]
    max_tokens: int = 256
    temperature: float = 0.0
    """0 is greedy."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    """A JSON schema that the output is constrained to; None leaves it free."""
    adapter: AdapterFile | None = None
    repeatable: bool = False
    """Whatever was asked before must not change a greedy answer, not even in the last bit of a
    number. An engine that cannot promise it answers as ever."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a finished generation cost, and why it ended."""

    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    """`stop` at an end token or a stop text, `length` at the limit."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a generation: text on the way, usage on the last one."""

    text: str = ""
    usage: Usage | None = None


class Engine(Protocol):
    """Generates text from messages."""

    name: str
    """Of the model, as answers report it."""
    context_tokens: int
    """Prompt and answer together must fit into this many tokens."""

    async def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids of the prompt that `messages` become, the chat template applied."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Yield text pieces; the last piece carries the usage, and nothing follows it.

        Raises:
            EngineError: the model failed; what came before is not an answer.
            EngineUnavailableError: it is not there, or too many requests wait for it already.
            MissingModelError: its server does not have the model or the adapter.
        """
        ...

    async def check(self) -> None:
        """Raise, as `stream` would, unless the model could answer now; generates nothing."""
        ...

    def close(self) -> None:
        """Let go of the model."""
        ...
