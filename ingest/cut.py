"""Texts too long for a chunk are cut where they bear it best, within a budget of tokens."""

import functools
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ingest.document import Span
from ingest.token_count import CountTokens

CHARS_PER_TOKEN = 12
"""A token counts for so many characters at most: some models make one token of a word they do not
know, be it a kilometre of base64, and whoever is shown the chunk pays for its characters."""

STRUCTURE = re.compile(
    r"\n\s*\n|\n(?=[ \t]*(?:[-•*–] |\(?\w{1,3}[.)] ))|(?<=[.:;!?])\n|\n(?=[^\n:;]{1,60}: )"
)
"""Where one thing ends and another begins: paragraphs, items of a list, rows of a table."""
IDEOGRAPHIC_STOP = re.compile("(?<=[。！？])(?=\\S)")
LINE = re.compile(r"\n")
WORD = re.compile(r"\s+")
JOINERS = "\u200d\ufe0e\ufe0f"  # they bind a character to the one before


class Piece(NamedTuple):
    """A stretch of a text."""

    span: Span
    tokens: int
    """At most so many, each of its parts counted by itself."""


class _Atom(NamedTuple):
    """A part of a text that is not cut further."""

    start: int
    end: int
    cost: int
    """In tokens."""
    soft: bool
    """It goes on from what stands before it, without a structure between them."""


class Cutter:
    """Cuts texts: at paragraphs, rows and items first, then sentences, words, characters."""

    def __init__(self, count: CountTokens, *, overlap: int) -> None:
        """Neighbours share up to `overlap` tokens where structure gives no place to cut."""
        self._count = count
        self._overlap = overlap

    def cut(self, texts: Sequence[str], budgets: Sequence[int]) -> list[list[Piece]]:
        """Return each text's pieces, each of at most its text's budget, in order."""
        atoms = [[_whole(text)] for text in texts]
        self._weigh(atoms, texts, budgets)
        levels: tuple[tuple[Callable[[str], Iterator[int]], bool], ...] = (
            (_at(STRUCTURE), False),
            (_sentences, True),
            (_at(LINE), True),
            (_at(WORD), True),
        )
        for places, soft in levels:
            if not self._split(atoms, texts, budgets, places, soft):
                break
        # What is left has no white space: halve it until it fits.
        while self._split(atoms, texts, budgets, _halves, True):
            pass
        return [
            list(self._pack(parts, budget)) for parts, budget in zip(atoms, budgets, strict=True)
        ]

    def _split(
        self,
        atoms: list[list[_Atom]],
        texts: Sequence[str],
        budgets: Sequence[int],
        places: Callable[[str], Iterator[int]],
        soft: bool,
    ) -> bool:
        """Split the atoms that are over budget at `places`; return whether there was one."""
        found = False
        for number, (text, budget) in enumerate(zip(texts, budgets, strict=True)):
            if all(atom.cost <= budget for atom in atoms[number]):
                continue
            parts: list[_Atom] = []
            for atom in atoms[number]:
                if atom.cost <= budget or atom.end - atom.start == 1:
                    parts.append(atom._replace(cost=min(atom.cost, budget)))
                    continue
                found = True
                parts += _parts(atom, text, places, soft)
            atoms[number] = parts
        self._weigh(atoms, texts, budgets)
        return found

    def _weigh(
        self, atoms: list[list[_Atom]], texts: Sequence[str], budgets: Sequence[int]
    ) -> None:
        """Count the tokens of the atoms that have no cost yet, in one batch."""
        places: list[tuple[int, int]] = []
        batch: list[str] = []
        for number, parts in enumerate(atoms):
            for place, atom in enumerate(parts):
                if atom.cost >= 0:
                    continue
                length = atom.end - atom.start
                if length > CHARS_PER_TOKEN * budgets[number]:
                    parts[place] = atom._replace(cost=math.ceil(length / CHARS_PER_TOKEN))
                else:
                    places.append((number, place))
                    batch.append(texts[number][atom.start : atom.end])
        for (number, place), tokens in zip(places, self._count(batch), strict=True):
            atom = atoms[number][place]
            cost = max(tokens, math.ceil((atom.end - atom.start) / CHARS_PER_TOKEN))
            atoms[number][place] = atom._replace(cost=cost)

    def _pack(self, atoms: list[_Atom], budget: int) -> Iterator[Piece]:
        """Yield pieces of like size: filling each to the brim would leave a scrap at the end."""
        total = sum(atom.cost for atom in atoms)
        size = min(budget, math.ceil(total / math.ceil(max(total, 1) / budget)) + budget // 8)
        first = 0
        while first < len(atoms):
            tokens, last = atoms[first].cost, first + 1
            while last < len(atoms) and tokens + atoms[last].cost <= size:
                tokens += atoms[last].cost
                last += 1
            yield Piece(
                Span(atoms[first].start, atoms[last - 1].end),
                tokens + last - first,  # joined, two neighbours may make a token more
            )
            if last == len(atoms):
                return
            first = self._step_back(atoms, first, last, size)

    def _step_back(self, atoms: list[_Atom], first: int, last: int, size: int) -> int:
        """Return where the piece after `first`..`last` begins: before `last` if they overlap."""
        start, shared = last, 0
        room = min(self._overlap, size // 3, size - atoms[last].cost)
        while atoms[start].soft and start - 1 > first and shared + atoms[start - 1].cost <= room:
            start -= 1
            shared += atoms[start].cost
        return start


def _whole(text: str) -> _Atom:
    stripped = text.strip()
    start = text.find(stripped) if stripped else 0
    return _Atom(start, start + len(stripped), -1, False)


def _parts(
    atom: _Atom, text: str, places: Callable[[str], Iterator[int]], soft: bool
) -> Iterator[_Atom]:
    """Yield the parts of an atom, without the white space between them."""
    inner = text[atom.start : atom.end]
    start, goes_on = 0, atom.soft
    for end in (*places(inner), len(inner)):
        part = inner[start:end]
        left = len(part) - len(part.lstrip())
        length = len(part.strip())
        if length:
            begin = atom.start + start + left
            # A cut of the whole only is no cut: its cost is known.
            cost = atom.cost if length == len(inner) else -1
            yield _Atom(begin, begin + length, cost, goes_on)
            goes_on = soft
        start = end


def _at(pattern: re.Pattern[str]) -> Callable[[str], Iterator[int]]:
    return lambda text: (found.end() for found in pattern.finditer(text))


def _sentences(text: str) -> Iterator[int]:
    position = 0
    for sentence in _splitter()(text):
        for stop in IDEOGRAPHIC_STOP.finditer(sentence):
            yield position + stop.start()
        position += len(sentence)
        if position < len(text):
            yield position


def load() -> None:
    """Load what finds sentences, which takes seconds; else the first text that needs it does."""
    _splitter()("One sentence. Another one.")  # it is loaded by its first use


@functools.cache
def _splitter() -> Callable[[str], list[str]]:
    from llama_index.core.node_parser.text.utils import split_by_sentence_tokenizer

    return split_by_sentence_tokenizer()


def _halves(text: str) -> Iterator[int]:
    middle = len(text) // 2
    for place in range(middle, min(middle + 16, len(text))):
        if not unicodedata.combining(text[place]) and text[place] not in JOINERS:
            middle = place
            break
    yield max(middle, 1)
