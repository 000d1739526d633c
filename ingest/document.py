"""The nouns of ingestion. What crosses from here into other folders is one of these."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a document's text under one heading and on one page."""

    text: str
    headings: tuple[str, ...] = ()
    """Outermost first; empty before the first heading."""
    page: int | None = None
    """Counted from 1; None where the format has no pages."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader takes out of a file."""

    title: str
    blocks: tuple[Block, ...]
    """In reading order."""
    pages: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the file says of itself: `author`, `date`, `supersedes`, keys of its front matter."""


class Span(NamedTuple):
    """Characters `start` up to, not including, `end` of a document's text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """One file, read."""

    id: str
    collection: str
    source: str
    """Path relative to the ingested folder, with `/`; what citations show."""
    path: Path | None
    """Where the file lies; None for an upload."""
    sha256: str
    """Of the file's bytes."""
    title: str
    text: str
    """All that was extracted, in reading order: the blocks, joined by blank lines."""
    blocks: tuple[Block, ...]
    spans: tuple[Span, ...]
    """Where each block stands in `text`."""
    pages: int | None
    kind: str
    """The format, judged from the bytes: `pdf`, `docx`, `md`, ..."""
    metadata: Mapping[str, str]
    """What the file says of itself; search can be narrowed by it."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage that can be found and cited."""

    id: str
    """Content-addressed: the same text at the same place of the same document keeps its id."""
    document_id: str
    collection: str
    source: str
    title: str
    headings: tuple[str, ...]
    page: int | None
    start: int
    end: int
    """`document.text[start:end] == text`."""
    text: str
    ordinal: int
    """Position in the document, from 0."""

    @property
    def heading(self) -> str:
        """The headings path as one line."""
        return heading_of(self.headings)

    @property
    def context(self) -> str:
        """What is embedded and indexed: title and headings give the text its subject."""
        return "\n".join(part for part in (self.title, self.heading, self.text) if part)


def heading_of(headings: Iterable[str]) -> str:
    """Return a path of headings, outermost first, as one line."""
    return " > ".join(headings)


@dataclass(frozen=True, slots=True)
class Record:
    """A document as the registry lists it."""

    id: str
    collection: str
    source: str
    title: str
    status: str
    """`done` or `failed`."""
    chunks: int
    pages: int | None
    sha256: str
    error: str | None
    path: Path | None
    """Where its file lies, or lay when it was ingested; None for an upload."""
    kind: str
    metadata: Mapping[str, str]


class Entry(NamedTuple):
    """A document as ingestion looks it up: enough to tell whether its file has changed."""

    id: str
    source: str
    path: str | None
    sha256: str
    status: str


class Failed(NamedTuple):
    """A file that could not be read, as the registry notes it."""

    id: str
    collection: str
    source: str
    path: Path | None
    sha256: str
    """Of its bytes; empty if not even those could be had."""
    error: str


def document_of(
    kind: str,
    reading: Reading,
    content: bytes,
    *,
    source: str,
    collection: str,
    path: Path | None,
    document_id: str,
) -> Document:
    """Return the document that `reading`, taken out of `content`, makes."""
    spans = []
    position = 0
    for block in reading.blocks:
        spans.append(Span(position, position + len(block.text)))
        position += len(block.text) + 2
    return Document(
        id=document_id,
        collection=collection,
        source=source,
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        title=reading.title,
        text="\n\n".join(block.text for block in reading.blocks),
        blocks=reading.blocks,
        spans=tuple(spans),
        pages=reading.pages,
        kind=kind,
        metadata=reading.metadata,
    )
