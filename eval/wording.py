"""Finding a fact in an answer, whatever way it is written."""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

# A no-break or thin space between digits groups thousands; an ordinary space does not, as it may
# part two numbers. Commas and apostrophes group only before exactly three digits.
GROUPED = re.compile(r"(?<=\d)[,'’\u00a0\u2009\u202f](?=\d{3}(?!\d))")
MARKER = re.compile(r"\s*\[\d{1,2}\](?!\w)")
LOOKALIKES = str.maketrans({"−": "-", "‑": "-", "–": "-", "⋅": "·", "∙": "·", "’": "'", "‘": "'"})
WHOLE = re.compile(r"(?<=\d)\.00(?![\d.])|(?<=\d)\.00(?=\.(?!\d))")
NUMBER = re.compile(r"(?<![\w.,-])-?\d+(?:\.\d+)?(?![.,]?\d)")
"""A number that is not part of a code such as TF-1410-2."""
NOT_TEXT = frozenset({"sources"})
"""Keys of a JSON answer that hold passage numbers; a fact "3" must not be found in them."""


def parsed(answer: str) -> Any:
    """Return the JSON value that `answer` is, or None when it is prose."""
    try:
        return json.loads(answer)
    except ValueError:
        return None


def spoken(answer: str) -> str:
    """Return what the answer says: the `answer` field of a JSON answer, or prose without [1]."""
    value = parsed(answer)
    if isinstance(value, dict) and isinstance(value.get("answer"), str):
        return str(value["answer"])
    return MARKER.sub("", answer)


def all_text(answer: str) -> str:
    """Return every statement of the answer: the leaves of JSON, a line each, or the text."""
    value = parsed(answer)
    return "\n".join(_leaves(value)) if isinstance(value, dict | list) else answer


def holds(text: str, spelling: str) -> bool:
    """Tell whether `text` states `spelling` as a whole: `25` is not in `125`, nor in `2.25`.

    Case, spaces, kinds of dashes and thousands separators make no difference.
    """
    return _pattern(spelling).search(normalised(text)) is not None


def states(text: str, value: float, units: Sequence[str], tolerance: float) -> bool:
    """Tell whether `text` states a number within `tolerance` of `value`, in one of `units`.

    Without units, any number that stands for itself counts.
    """
    plain = normalised(text)
    tails = [_pattern_of_unit(unit) for unit in units] or [re.compile("")]
    slack = tolerance + 1e-9 * max(1.0, abs(value))  # 2.1 is not exactly 2.1 in binary
    return any(
        abs(float(number[0]) - value) <= slack and any(t.match(plain, number.end()) for t in tails)
        for number in NUMBER.finditer(plain)
    )


def normalised(text: str) -> str:
    """Return `text` with everything that does not change its meaning made equal."""
    text = GROUPED.sub("", MARKER.sub("", text))
    text = unicodedata.normalize("NFKC", text).translate(LOOKALIKES).casefold()
    return WHOLE.sub("", re.sub(r"[ \t\r\f\v]+", " ", text))


@lru_cache(maxsize=4096)
def _pattern(spelling: str) -> re.Pattern[str]:
    words = normalised(spelling.strip()).split()
    body = re.escape(words[0]) if words else r"(?!)"
    for before, word in zip(words, words[1:], strict=False):
        # "70 °C" is also written "70°C": between a number and its unit the space is optional.
        gap = r"\s*" if before[-1].isdigit() or word[0].isdigit() else r"\s+"
        body += gap + re.escape(word)
    return re.compile(_opening(words[0][0]) + body + _closing(words[-1][-1]))


def _opening(first: str) -> str:
    if first.isdigit():
        # Neither the tail of a longer number nor, after a minus sign, its opposite.
        return r"(?<!\w)(?<!\d[.,])(?<![\s(]-)(?<!^-)"
    return r"(?<!\w)" if first.isalnum() else ""


@lru_cache(maxsize=1024)
def _pattern_of_unit(unit: str) -> re.Pattern[str]:
    words = normalised(unit.strip())
    return re.compile(r"\s?" + re.escape(words) + _closing(words[-1:]))


def _closing(last: str) -> str:
    if last.isdigit():
        return r"(?!\w)(?![.,]\d)"
    return r"(?!\w)" if last.isalnum() else ""


def _leaves(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key)
    elif value is not None and key not in NOT_TEXT:
        yield str(value)
