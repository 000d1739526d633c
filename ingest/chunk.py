"""Documents become chunks: a section each where it fits, cut with care where it does not."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from ingest.cut import Cutter, Piece
from ingest.document import Chunk, Document, Span
from ingest.token_count import token_count

RESERVE = 4  # [CLS] and [SEP], and the newlines between title, headings and text
SMALLEST_BUDGET = 16
CONTEXT_SHARE = 4
"""Title and headings may each take this part of what the model reads: a quarter."""
CUT_MARK = "…"


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
            chunk_overlap: tokens that neighbours share where structure gives no place to cut.
            max_tokens: what the embedding model reads; more would be cut silently.
        """
        self._count = token_count(tokenize)
        self._cutter = Cutter(self._count, overlap=chunk_overlap)
        self._chunk_tokens = chunk_tokens
        self._max_tokens = max_tokens

    def chunk(self, document: Document) -> list[Chunk]:
        """Return the document's chunks in reading order; together they hold all of its text."""
        title = self._shortened(document.title)
        paths = {block.headings: self._path(block.headings) for block in document.blocks}
        contexts = ["\n".join((title, " > ".join(path))) for path in paths.values()]
        costs = dict(zip(paths, self._count(contexts), strict=True))
        room = [self._max_tokens - costs[block.headings] - RESERVE for block in document.blocks]
        budgets = [max(min(self._chunk_tokens, tokens), SMALLEST_BUDGET) for tokens in room]
        pieces = self._cutter.cut([block.text for block in document.blocks], budgets)
        chunks: list[Chunk] = []
        for block, span, tokens, parts in zip(
            document.blocks, document.spans, room, pieces, strict=True
        ):
            path = paths[block.headings]
            for piece in self._fitting(block.text, parts, title, path, tokens):
                start, end = span.start + piece.start, span.start + piece.end
                chunks.append(_chunk(document, title, path, block.page, start, end, len(chunks)))
        return chunks

    def _fitting(
        self, text: str, pieces: list[Piece], title: str, path: tuple[str, ...], room: int
    ) -> list[Span]:
        """Return the spans of `pieces`; one that may be over the model's limit is counted whole.

        The parts of a chunk were counted one by one. Most tokenizers never see across white space,
        so that the sum is right; for the others it is only close.
        """
        spans: list[Span] = []
        for piece in pieces:
            if piece.tokens <= room:
                spans.append(piece.span)
                continue
            start, end = piece.span
            context = "\n".join(filter(None, (title, " > ".join(path), text[start:end])))
            tokens = self._count([context])[0] + 2
            if tokens <= self._max_tokens or end - start == 1:
                spans.append(piece.span)
                continue
            smaller = max(room - (tokens - self._max_tokens) - RESERVE, 1)
            inner = text[start:end]
            parts = self._cutter.cut([inner], [min(smaller, piece.tokens // 2)])[0]
            spans += [
                Span(start + span.start, start + span.end)
                for span in self._fitting(inner, parts, title, path, room)
            ]
        return spans

    def _path(self, headings: tuple[str, ...]) -> tuple[str, ...]:
        """Return headings that leave room for text: the outermost and the innermost stay."""
        limit = self._max_tokens // CONTEXT_SHARE
        if not headings or self._count([" > ".join(headings)])[0] <= limit:
            return headings
        most = max(2, limit // 12)
        if len(headings) > most:
            headings = (headings[0], CUT_MARK, *headings[len(headings) - most + 1 :])
        share = max(limit // len(headings) - 2, 1)  # for ` > `
        return tuple(self._shortened(heading, share) for heading in headings)

    def _shortened(self, text: str, limit: int | None = None) -> str:
        """Return as much of `text` as has `limit` tokens, with a mark where it was cut."""
        limit = limit or self._max_tokens // CONTEXT_SHARE
        if self._count([text])[0] <= limit and len(text) <= limit * 12:
            return text
        kept = self._cutter.cut([text], [max(limit - 1, 1)])[0][0].span
        while kept.end > 1 and self._count([text[: kept.end] + CUT_MARK])[0] > limit:
            kept = Span(0, kept.end * 3 // 4)
        return text[: kept.end] + CUT_MARK


def _chunk(
    document: Document,
    title: str,
    headings: tuple[str, ...],
    page: int | None,
    start: int,
    end: int,
    ordinal: int,
) -> Chunk:
    text = document.text[start:end]
    key = "\x00".join((document.id, title, *headings, str(page), str(start), text))
    return Chunk(
        id=hashlib.sha256(key.encode()).hexdigest()[:24],
        document_id=document.id,
        collection=document.collection,
        source=document.source,
        title=title,
        headings=headings,
        page=page,
        start=start,
        end=end,
        text=text,
        ordinal=ordinal,
    )
