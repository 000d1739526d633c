"""What every model server has in common: how it is reached, and how it fails."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from ingest.errors import EngineError, EngineUnavailableError

CONNECT_S = 5.0  # a long answer takes minutes on a CPU; connecting must still fail fast
RETRY_PAUSES_S = (0.2, 0.6)
"""Before a connection that was refused is tried again."""
PREFIX = "groundtune-"
"""Of every name that we give a model on a server."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
MEMORY = re.compile(r"memory|resource limitations|allocat", re.IGNORECASE)
# A kept connection belongs to one event loop, and may be closed at the other end just when it is
# used again. A new one costs less than a millisecond on this machine.
FRESH = httpx.Limits(max_connections=None, max_keepalive_connections=0)


def is_loopback(url: str) -> bool:
    """Return whether `url` leads to this machine; such calls never go through a proxy."""
    return urlsplit(url).hostname in LOOPBACK


def patience(timeout_s: float) -> httpx.Timeout:
    """Return the limits of a call whose answer may be silent for `timeout_s` seconds."""
    return httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S))


def room_for(prompt_tokens: int, context_tokens: int) -> int:
    """Return how many tokens an answer may have behind a prompt.

    Raises:
        EngineError: the prompt alone fills the window.
    """
    room = context_tokens - prompt_tokens
    if room < 1:
        raise EngineError(
            f"The prompt has {prompt_tokens} tokens and the context size is {context_tokens}.",
            hint="Ask with less text, or raise engine.context_tokens.",
        )
    return room


@dataclass(frozen=True, slots=True)
class ServerErrors:
    """Our errors for what one server does; `what` and `url` name it."""

    what: str
    """`Ollama`, `OpenAI-compatible`, ..."""
    url: str
    start: str
    """The command that starts one."""

    def absent(self, error: Exception) -> EngineUnavailableError:
        """Return the error for a server that does not answer."""
        return EngineUnavailableError(
            f"No {self.what} server answers at {self.url} ({type(error).__name__}).",
            hint=f"Start one with: {self.start} (or set engine.url to where it runs).",
        )

    def refused(self, status: int, message: str) -> EngineError:
        """Return the error for an answer with `status` instead of what was asked."""
        said = message.strip()[:400]
        text = f"The {self.what} server at {self.url} refused ({status}): {said}"
        if status in (429, 503):
            return EngineUnavailableError(text, hint="It is busy; ask again in a few seconds.")
        return EngineError(text)

    def lost(self, error: httpx.TransportError, *, begun: bool, timeout_s: float) -> EngineError:
        """Return the error for a connection that broke; `begun` once an answer was on its way."""
        if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
            return EngineUnavailableError(
                f"The {self.what} server at {self.url} said nothing for {timeout_s:g} s.",
                hint="Give it more time with engine.timeout_s, or fewer requests at once.",
            )
        if not begun:
            return self.absent(error)
        return EngineError(
            f"The {self.what} server at {self.url} went away in the middle of an answer.",
            hint="Its log says why; often it ran out of memory.",
        )

    def garbage(self, error: Exception) -> EngineError:
        """Return the error for an answer that is none of this kind of server's."""
        return EngineError(
            f"{self.url} answered what no {self.what} server answers: {error}"[:400],
            hint=f"Is another program listening there? Set engine.url to an {self.what} server.",
        )

    def out_of_memory(self, message: str) -> EngineUnavailableError | None:
        """Return the error for a message that speaks of memory, None for any other message."""
        if not MEMORY.search(message):
            return None
        return EngineUnavailableError(
            f"The {self.what} server at {self.url} has too little memory: {message[:400]}",
            hint="Free memory, lower engine.context_tokens, or take a smaller model.",
        )

    def broke_off(self, message: str) -> EngineError:
        """Return the error for an answer that the server ended with words of its own."""
        return EngineError(f"The {self.what} server at {self.url} broke off: {message[:400]}")

    def unfinished(self, hint: str = "Its log says why.") -> EngineError:
        """Return the error for an answer that ended without the mark of its end."""
        return EngineError(
            f"The {self.what} server at {self.url} ended an answer without saying that it was "
            "whole.",
            hint=hint,
        )

    def miscounted(self, read: object, sent: int, hint: str) -> EngineError:
        """Return the error for a server that read another number of tokens than was sent."""
        return EngineError(
            f"The {self.what} server read {read} prompt tokens where {sent} were sent: its model "
            "is another one than engine.model, or its window is smaller.",
            hint=hint,
        )

    def odd_ending(self, reason: object) -> EngineError:
        """Return the error for an answer that ended for a reason that we do not know."""
        return EngineError(f"The {self.what} server ended an answer for the reason {reason!r}.")
