"""What people say about answers, as it goes over the wire."""

from typing import Any, Literal

from pydantic import Field

from assistant.api.wire import Body, Wire
from assistant.feedback import Opinion


class FeedbackBody(Body):
    """What somebody says about an answer."""

    request_id: str = Field(pattern="^[0-9a-f]{32}$")
    """As the answer has it."""
    rating: Literal["up", "down"]
    correction: str | None = Field(default=None, max_length=20_000)
    """What the answer should have been."""
    comment: str | None = Field(default=None, max_length=4_000)

    def opinion(self) -> Opinion:
        """Return it as it is kept."""
        return Opinion(self.request_id, self.rating, self.correction, self.comment)


class FeedbackReply(Wire):
    """What was noted."""

    request_id: str
    rating: str


class OpinionReply(FeedbackReply):
    """What somebody said, and what it is about."""

    created: float
    correction: str | None
    comment: str | None
    collection: str
    mode: str
    model: str
    adapter: str | None
    history: list[list[str]]
    question: str
    answer: str
    abstained: bool
    evidence: list[dict[str, Any]]
    """The passages in the prompt; `cited` says whether the answer cites it."""


class OpinionsReply(Wire):
    """Feedback, newest first."""

    feedback: list[OpinionReply]
