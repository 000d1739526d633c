"""Markdown: headings give the structure, front matter the metadata, tables one line a row."""

import functools
import re
from typing import TYPE_CHECKING, Any

from ingest.document import Reading
from ingest.readers.html import read_html
from ingest.readers.job import Job
from ingest.readers.outline import Outline, table_lines
from ingest.readers.text import text_of

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

FRONT = re.compile(r"\A---[ \t]*\n(?P<yaml>.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
SIMPLE = re.compile(r"^(?P<key>[A-Za-z][\w -]*):[ \t]+(?P<value>\S.*)$", re.MULTILINE)


def read_markdown(content: bytes, name: str, job: Job) -> Reading:
    """Read Markdown. `name` titles a document with neither a first-level heading nor a title."""
    text = text_of(content).lstrip("\ufeff")
    metadata = {}
    if front := FRONT.match(text):
        metadata = _front_matter(front["yaml"])
        if metadata:  # else it is a text between two rules
            text = text[front.end() :]
    outline = Outline(metadata.get("title", name))
    outline.metadata.update(metadata)
    tokens = _parser().parse(text)
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
            outline.paragraph(token.content.strip("\n"))
        elif token.type == "html_block":
            for block in read_html(token.content.encode(), "", job).blocks:
                outline.paragraph(block.text)
        position += 1
    return outline.reading()


@functools.cache
def _parser() -> "MarkdownIt":
    """Return the one parser: making it takes longer than a short file, and it keeps nothing."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def _front_matter(text: str) -> dict[str, str]:
    """Return the keys in lower case; lists become `a, b`. Broken YAML is read line by line."""
    import yaml

    try:
        found = yaml.load(text, _loader())
    except (yaml.YAMLError, ValueError, RecursionError):
        found = {line["key"]: line["value"] for line in SIMPLE.finditer(text)}
    if not isinstance(found, dict):
        return {}
    return {str(key).lower(): _value(value) for key, value in found.items() if value is not None}


@functools.cache
def _loader() -> Any:
    """Return safe YAML without `*alias`, by which a few lines can grow to gigabytes."""
    import yaml

    class NoAliases(yaml.SafeLoader):  # type: ignore[misc]  # comes without types
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not read")
            return super().compose_node(parent, index)

    return NoAliases


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_value(part)}" for key, part in value.items())
    return str(value)


def _plain(token: "Token") -> str:
    """Return the inline text without its markup."""
    parts = []
    for child in token.children or []:
        if child.type in ("softbreak", "hardbreak"):
            parts.append("\n" if child.type == "hardbreak" else " ")
        elif child.type == "html_inline" and child.content.lower().startswith("<br"):
            parts.append("\n")
        elif child.type == "image" or child.type in ("text", "code_inline"):
            parts.append(child.content)
    return "".join(parts).strip()


def _bullet(tokens: "list[Token]", position: int) -> str:
    is_item = position >= 2 and tokens[position - 2].type == "list_item_open"
    return "- " if is_item else ""


def _closing(tokens: "list[Token]", start: int, kind: str) -> int:
    return next(i for i in range(start, len(tokens)) if tokens[i].type == kind)


def _rows(tokens: "list[Token]") -> list[list[str]]:
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_plain(token))
    return rows
