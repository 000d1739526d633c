"""Markdown: headings give the structure, tables become one readable line a row."""

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ingest.document import Reading
from ingest.readers.outline import Outline, table_lines


def read_markdown(content: bytes, name: str) -> Reading:
    """Read Markdown. `name` titles a document that has no first-level heading."""
    tokens = MarkdownIt("commonmark").enable("table").parse(content.decode("utf-8-sig"))
    outline = Outline(name)
    position = 0
    while position < len(tokens):
        token = tokens[position]
        if token.type == "heading_open":
            outline.heading(int(token.tag[1:]), _plain(tokens[position + 1]))
            position += 2
        elif token.type == "table_open":
            end = _closing(tokens, position, "table_close")
            outline.lines(table_lines(_rows(tokens[position:end])))
            position = end
        elif token.type == "inline":
            outline.paragraph(_bullet(tokens, position) + _plain(token))
        elif token.type in ("fence", "code_block"):
            outline.paragraph(token.content.rstrip())
        position += 1
    return outline.reading()


def _plain(token: Token) -> str:
    """Return the inline text without its markup."""
    parts = []
    for child in token.children or []:
        if child.type in ("softbreak", "hardbreak"):
            parts.append("\n" if child.type == "hardbreak" else " ")
        elif child.type == "image" or child.type in ("text", "code_inline"):
            parts.append(child.content)
    return "".join(parts).strip()


def _bullet(tokens: list[Token], position: int) -> str:
    is_item = position >= 2 and tokens[position - 2].type == "list_item_open"
    return "- " if is_item else ""


def _closing(tokens: list[Token], start: int, kind: str) -> int:
    return next(i for i in range(start, len(tokens)) if tokens[i].type == kind)


def _rows(tokens: list[Token]) -> list[list[str]]:
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_plain(token))
    return rows
