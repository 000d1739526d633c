"""reStructuredText: sections, lists, tables and literal blocks; fields become metadata."""

from collections.abc import Callable
from typing import Any

from ingest.document import Reading
from ingest.readers.job import Job
from ingest.readers.outline import Outline, table_lines
from ingest.readers.text import text_of

SETTINGS = {
    "file_insertion_enabled": False,  # a document must not include files of this machine
    "raw_enabled": False,
    "_disable_config": True,
    "report_level": 5,
    "halt_level": 6,
    "doctitle_xform": False,
    "line_length_limit": 1_000_000,
    "smart_quotes": False,
}


def read_rst(content: bytes, name: str, job: Job) -> Reading:
    """Read reStructuredText; unknown directives and roles are left as they stand."""
    from docutils.core import publish_doctree

    document = publish_doctree(text_of(content), settings_overrides=SETTINGS)
    outline = Outline(name)
    _walk(document, outline, 1)
    return outline.reading()


def _walk(parent: Any, outline: Outline, level: int) -> None:
    for node in parent.children:
        tag = node.tagname
        if tag == "section":
            _walk(node, outline, level + 1)
        elif tag == "title":
            outline.heading(max(level - 1, 1), node.astext())
        elif tag in TEXTS:
            outline.paragraph(TEXTS[tag](node))
        elif tag in ("docinfo", "field_list"):
            _fields(node, outline)
        elif tag == "table":
            _table(node, outline)
        elif tag not in NO_TEXT:
            _walk(node, outline, level)


def _flowing(node: Any) -> str:
    return " ".join(node.astext().split())


def _verbatim(node: Any) -> str:
    return str(node.astext())


def _list(node: Any) -> str:
    return "\n".join(f"- {_flowing(item)}" for item in node.children)


def _definition(node: Any) -> str:
    term, *rest = node.children
    return f"{term.astext()}: {' '.join(map(_flowing, rest))}"


def _unknown(node: Any) -> str:
    """Return what an unknown directive, such as Sphinx's, holds: it is still text."""
    blocks = node.findall(lambda inner: inner.tagname == "literal_block")
    return "\n\n".join(block.astext() for block in blocks)


TEXTS: dict[str, Callable[[Any], str]] = {
    "paragraph": _flowing,
    **dict.fromkeys(("literal_block", "doctest_block", "line_block", "math_block"), _verbatim),
    **dict.fromkeys(("bullet_list", "enumerated_list"), _list),
    "definition_list_item": _definition,
    "system_message": _unknown,
}
NO_TEXT = {"comment", "substitution_definition", "target", "pending", "#text"}


def _fields(parent: Any, outline: Outline) -> None:
    lines = []
    for node in parent.children:
        if node.tagname == "field":
            name, body = node.children
            key, value = name.astext(), " ".join(body.astext().split())
        else:
            key, value = node.tagname, " ".join(node.astext().split())
        lines.append(f"{key}: {value}")
        outline.metadata.setdefault(key.lower(), value)
    outline.lines(lines)


def _table(table: Any, outline: Outline) -> None:
    rows = []
    for row in table.findall(lambda node: node.tagname == "row"):
        cells: list[str] = []
        for entry in row.children:
            cells.append(" ".join(entry.astext().split()))
            cells += [""] * min(int(entry.get("morecols", 0)), 63)
        rows.append(cells)
    title = next((node for node in table.children if node.tagname == "title"), None)
    if title is not None:
        outline.paragraph(title.astext())
    outline.lines(table_lines(rows))
