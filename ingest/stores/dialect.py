"""What the registry asks of its database beyond the SQL that all of them share."""

import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, Engine, Insert, Table

TITLE_WEIGHT, HEADINGS_WEIGHT, TEXT_WEIGHT = 0.5, 1.0, 1.0
"""Every chunk of a document shares its title, so a title that weighs more lifts all of them alike
and hides the one that answers."""

# fmt: off
STOP_WORDS = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "could", "do", "does", "for", "from",
    "had", "has", "have", "how", "i", "if", "in", "is", "it", "its", "me", "my", "of", "on", "or",
    "our", "please", "should", "so", "tell", "than", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "to", "was", "we", "what", "when", "where", "which", "who",
    "why", "will", "with", "would", "you", "your",
))
# fmt: on


class Words(NamedTuple):
    """A chunk as the full-text index takes it in."""

    number: int
    """The chunk's, in the registry."""
    title: str
    headings: str
    text: str


class Found(NamedTuple):
    """A chunk that the full-text index found."""

    number: int
    score: float
    """Positive; higher is better."""


class Dialect(Protocol):
    """A kind of database: how it is opened, and its full text."""

    place: str
    """Where the database lies, for people: no password."""

    def engine(self) -> Engine:
        """Return the database's engine."""
        ...

    def version(self, connection: Connection) -> int:
        """Return the version of the schema, 0 where there is none."""
        ...

    def set_version(self, connection: Connection, version: int) -> None:
        """Note the version of the schema."""
        ...

    def make_words(self, connection: Connection) -> None:
        """Make the full-text index if it is not there."""
        ...

    def add_words(self, connection: Connection, words: Sequence[Words]) -> None:
        """Take chunks into the full-text index."""
        ...

    def remove_words(self, connection: Connection, document_id: str) -> None:
        """Take a document's chunks, which are still listed, out of the full-text index."""
        ...

    def insert_new(self, table: Table) -> Insert:
        """Return an insert that passes over rows whose key is there already."""
        ...

    def search(
        self,
        connection: Connection,
        words: Sequence[str],
        *,
        collection: str,
        limit: int,
        documents: Collection[str] | None,
    ) -> list[Found]:
        """Return the best chunks that hold one of `words`, best first, equal ones by their id.

        Rare words weigh more than common ones, titles half as much as headings and text.
        """
        ...

    def explain(self, error: Any) -> tuple[str, str] | None:
        """Return message and hint for a database error that is no fault of the statement's."""
        ...


def telling_words(query: str) -> list[str]:
    """Return the words of a query that say what it is about, each once.

    They hold letters, digits and underscores alone, so that none of them is an operator anywhere.
    """
    words = re.findall(r"\w+", query.casefold())
    return list(dict.fromkeys(word for word in words if word not in STOP_WORDS))
