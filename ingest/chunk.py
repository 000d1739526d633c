"""Documents become chunks: a section each where it fits, cut at sentences where it does not."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ingest.document import Chunk, Document, Span

CountTokens = Callable[[str], int]


class Chunker:
    """Cuts documents along their structure, within a budget of the embedding model's tokens."""

    def __init__(
        self,
        tokenize: Callable[[str], Sequence[Any]],
        *,
        chunk_tokens: int,
        chunk_overlap: int,
        max_tokens: int,
    ) -> None:
        """Cut to `chunk_tokens`; with title and headings a chunk never exceeds `max_tokens`.

        Args:
            tokenize: splits a text into the embedding model's tokens.
            chunk_tokens: longest chunk.
            chunk_overlap: tokens that neighbours share where one section had to be cut.
            max_tokens: what the embedding model reads; more would be cut silently.
        """
        self._tokenize = tokenize
        self._chunk_tokens = chunk_tokens
        self._overlap = chunk_overlap
        self._max_tokens = max_tokens

    def chunk(self, document: Document) -> list[Chunk]:
        """Return the document's chunks in reading order."""
        chunks: list[Chunk] = []
        for block, span in zip(document.blocks, document.spans, strict=True):
            context = "\n".join((document.title, " > ".join(block.headings)))
            # 4: the newlines' neighbours may tokenize differently once joined, and [CLS] and [SEP]
            budget = min(self._chunk_tokens, self._max_tokens - len(self._tokenize(context)) - 4)
            for start, end in self._cut(block.text, max(budget, 16)):
                chunks.append(
                    _chunk(
                        document,
                        block.headings,
                        block.page,
                        span.start + start,
                        span.start + end,
                        len(chunks),
                    )
                )
        return chunks

    def _cut(self, text: str, budget: int) -> Iterator[Span]:
        total = len(self._tokenize(text))
        if total <= budget:
            yield Span(0, len(text))
            return
        # Pieces of like size: filling each to the brim would leave a last one of a few words.
        size = min(budget, math.ceil(total / math.ceil(total / budget)) + budget // 8)
        from llama_index.core.node_parser import SentenceSplitter

        splitter = SentenceSplitter(
            chunk_size=size,
            chunk_overlap=min(self._overlap, size // 3),
            tokenizer=self._tokenize,
            paragraph_separator="\n",
        )
        position = 0
        for piece in splitter.split_text(text):
            # Pieces are verbatim and in order, and each begins after the one before it began.
            start = text.index(piece, position)
            yield Span(start, start + len(piece))
            position = start + 1


def _chunk(
    document: Document,
    headings: tuple[str, ...],
    page: int | None,
    start: int,
    end: int,
    ordinal: int,
) -> Chunk:
    text = document.text[start:end]
    key = "\x00".join((document.id, document.title, *headings, str(page), str(start), text))
    return Chunk(
        id=hashlib.sha256(key.encode()).hexdigest()[:24],
        document_id=document.id,
        collection=document.collection,
        source=document.source,
        title=document.title,
        headings=headings,
        page=page,
        start=start,
        end=end,
        text=text,
        ordinal=ordinal,
    )
