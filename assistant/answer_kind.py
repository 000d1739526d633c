"""The kind of answer that a question wants: a time, an amount of money, a telephone number, a part.

A vector hardly tells the sentence that names a price from the one beside it that names a part, so
words do it. They are English; a question in another language wants nothing that is known here.
"""

import re
from typing import NamedTuple


class AnswerKind(NamedTuple):
    """How a kind is asked for, and what an answer of the kind holds."""

    asked: re.Pattern[str]
    held: re.Pattern[str]


def _kind(asked: str, held: str) -> AnswerKind:
    return AnswerKind(re.compile(rf"\b(?:{asked})\b", re.IGNORECASE), re.compile(held))


KINDS = (
    _kind(
        r"how (?:long|soon|fast|often|old)|how (?:many|much) (?:time|minutes|hours|days|weeks"
        r"|months|years)|interval|deadline|by when|within what",
        # It begins where a number does and gives nothing back: "1,1,1,..." is read once.
        r"(?i)(?<![\d.,])\d[\d.,]*+\s*+(?:(?:working|calendar) )?(?:s|sec|seconds?|min"
        r"|minutes?|h|hours?|days?|weeks?|months?|years?)\b",
    ),
    _kind(
        r"costs?|prices?|charged?|fees?|pay|paying|how much (?:is|are)|euros?|eur|expensive|money"
        r"|billed|fares?|fines?|discount",
        r"(?i)[€$£]|\b(?:eur|usd|gbp)\b|\d\s*%",
    ),
    _kind(r"(?:tele)?phone|ring|call", r"\+\d[\d ]{6,}"),
    _kind(r"(?:part|order) (?:number|no)|which part", r"\b[A-Z]{2,}-\d{3,}"),
)


def fits(question: str, text: str) -> bool:
    """Return whether `question` wants an answer of a known kind and `text` holds one."""
    return any(kind.asked.search(question) and kind.held.search(text) for kind in KINDS)
