"""Near-duplicates: texts that say the same in nearly the same characters.

Two texts are alike by the share of character 4-grams that they have in common, of all that either
has (Jaccard), after case, white space and punctuation were taken away. Texts whose numbers or
codes differ are never alike: "E-433" and "E-154" are two questions. MinHash with banding (Broder
1997; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", 3.4), by datasketch, names the
candidates, and every candidate is then measured exactly: what is reported is right, and of the
pairs at the very threshold a few in a hundred are missed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from assistant.duplicates import WORD

ALIKE = 0.8
"""Similarity, 0 to 1, from which two texts count as one. In a question of ten words a letter, a
filler word or the end may differ; another noun makes another question."""
GRAM = 4
"""Characters of a shingle."""
RUN = 5
"""Words of a shingle where a text is looked for inside longer ones."""
COPIED = 0.8
"""Share of a text's runs of words, 0 to 1, from which it stands inside a passage."""
HASHES = 128
SCHEME = "affine32"
PERMUTATIONS = MinHash(HASHES, scheme=SCHEME).permutations
BANDS, ROWS = 25, 5
"""A pair of similarity s is a candidate with probability 1 - (1 - s^5)^25: 0.9999 at 0.8."""
MULTIPLIER = np.uint32(0x9E3779B1)  # odd: multiplication modulo 2^32 loses nothing


class Pair(NamedTuple):
    """Two texts that are alike."""

    first: int
    """Its place in the first list, from 0."""
    second: int
    """Its place in the other list; in the same one where there is only one."""
    similarity: float
    """0 to 1; 1 means the same words in the same order."""


class _Print:
    """What a text is compared by."""

    def __init__(self, text: str) -> None:
        words = WORD.findall(text.casefold())
        self.form = " ".join(words) or " ".join(text.split())
        self.numbers = sorted(word for word in words if any(c.isdigit() for c in word))
        self.grams = _grams(self.form)

    @cached_property
    def sketch(self) -> MinHash:
        sketch = MinHash(HASHES, hashfunc=int, permutations=PERMUTATIONS, scheme=SCHEME)
        sketch.update_batch(self.grams.tolist())
        return sketch

    def similarity(self, other: "_Print") -> float:
        if self.form == other.form:
            return 1.0
        if self.numbers != other.numbers:
            return 0.0
        common = len(np.intersect1d(self.grams, other.grams, assume_unique=True))
        return common / (len(self.grams) + len(other.grams) - common)


class _Leaders:
    """Texts that later ones are compared with."""

    def __init__(self) -> None:
        self._prints: dict[int, _Print] = {}
        self._exact: dict[str, int] = {}
        self._lsh = MinHashLSH(num_perm=HASHES, params=(BANDS, ROWS))

    def add(self, place: int, mark: _Print) -> None:
        if mark.form not in self._exact:
            self._exact[mark.form] = place
            self._prints[place] = mark
            self._lsh.insert(place, mark.sketch)

    def best(self, mark: _Print, alike: float) -> tuple[int, float] | None:
        """Return the place of the most similar text, the earliest of equals, and how similar."""
        if (same := self._exact.get(mark.form)) is not None:
            return same, 1.0
        measured = [
            (-self._prints[place].similarity(mark), place) for place in self._lsh.query(mark.sketch)
        ]
        if not measured or -min(measured)[0] < alike:
            return None
        negative, place = min(measured)
        return place, -negative


def near_duplicates(texts: Sequence[str], *, alike: float = ALIKE) -> list[Pair]:
    """Return each text that repeats an earlier one, with the earlier one as `first`.

    A text that repeats another leads no group itself: of a hundred like texts, ninety-nine are
    reported, each with the same first. Empty texts are like nothing.
    """
    leaders = _Leaders()
    found: list[Pair] = []
    for place, mark in _marks(texts):
        if best := leaders.best(mark, alike):
            found.append(Pair(best[0], place, best[1]))
        else:
            leaders.add(place, mark)
    return found


def near_duplicates_between(
    texts: Sequence[str], others: Sequence[str], *, alike: float = ALIKE
) -> list[Pair]:
    """Return each of `texts` that is like one of `others`, with the most similar one as `second`.

    Empty texts are like nothing.
    """
    leaders = _Leaders()
    for place, mark in _marks(others):
        leaders.add(place, mark)
    return [
        Pair(place, best[0], best[1])
        for place, mark in _marks(texts)
        if (best := leaders.best(mark, alike))
    ]


def copied_from(
    texts: Sequence[str], passages: Iterable[str], *, share: float = COPIED
) -> list[Pair]:
    """Return each text that stands inside one of `passages`, nearly word for word.

    `similarity` is the share of the text's runs of five words that the passage holds too. Texts of
    fewer words are looked for in none: they would be found everywhere. Passages are read once and
    not kept, so there may be any number of them.
    """
    runs = [set(_runs(text)) for text in texts]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, own in enumerate(runs):
        for run in own:
            holders[run].append(place)
    best: dict[int, Pair] = {}
    for number, passage in enumerate(passages):
        hits: dict[int, int] = defaultdict(int)
        for run in set(_runs(passage)):
            for place in holders.get(run, ()):
                hits[place] += 1
        for place, count in hits.items():
            found = count / len(runs[place])
            if found >= share and (place not in best or found > best[place].similarity):
                best[place] = Pair(place, number, found)
    return [best[place] for place in sorted(best)]


def _marks(texts: Sequence[str]) -> Iterator[tuple[int, _Print]]:
    for place, text in enumerate(texts):
        if text.strip():
            yield place, _Print(text)


def _grams(form: str) -> NDArray[np.uint32]:
    """Return the hashes of all character 4-grams, each once, in order: shape (n,), n >= 1."""
    padded = f" {form} ".ljust(GRAM)
    codes = np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    hashes = np.zeros(len(codes) - GRAM + 1, dtype=np.uint32)
    for offset in range(GRAM):
        hashes = hashes * MULTIPLIER + codes[offset : offset + len(hashes)]
    return np.unique(hashes)


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = WORD.findall(text.casefold())
    return zip(*(words[start:] for start in range(RUN)), strict=False)
