"""HTML: the text of the page without its furniture."""

import re
import warnings
from typing import TYPE_CHECKING

from ingest.document import Reading
from ingest.readers.job import Job
from ingest.readers.outline import Outline, table_lines
from ingest.readers.text import BOMS, text_of

if TYPE_CHECKING:
    from bs4.element import Tag

FURNITURE = ["script", "style", "noscript", "template", "nav", "footer", "aside", "form", "svg"]
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
BLOCKS = {"p", "li", "pre", "blockquote", "dd", "dt", "figcaption", "caption", "address"}
STRUCTURE = HEADINGS | BLOCKS | {"table"}
META = {
    **{"author": "author", "dc.creator": "author", "description": "description"},
    **{"keywords": "keywords", "date": "date", "dc.date": "date", "supersedes": "supersedes"},
}


def read_html(content: bytes, name: str, job: Job) -> Reading:
    """Read HTML. The title is the first `h1`, else the `title` element, else `name`."""
    from bs4 import BeautifulSoup  # a third of what a reading process would load as it starts

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it looks like XML, or like a file's name
        page = BeautifulSoup(_text(content), "html.parser")
    title = page.title.get_text(" ", strip=True) if page.title else ""
    outline = Outline(title or name)
    for meta in page.find_all("meta"):
        key = META.get(str(meta.get("name", "")).lower())
        if key and meta.get("content"):
            outline.metadata.setdefault(key, str(meta["content"]))
    for furniture in page.find_all(FURNITURE):
        furniture.decompose()
    body = page.body or page
    _walk(body, outline, _holders(body))
    return outline.reading()


def _text(content: bytes) -> str:
    """Return the page's text in the encoding that it declares; a byte-order mark goes before."""
    from bs4.dammit import EncodingDetector

    declared = EncodingDetector.find_declared_encoding(content, is_html=True)
    if declared and not content.startswith(tuple(mark for mark, _ in BOMS)):
        try:
            return content.decode(declared)
        except (LookupError, UnicodeDecodeError):
            pass  # a wrong declaration is common
    return text_of(content)


def _holders(body: "Tag") -> set[int]:
    """Return the ids of the elements that hold a block: found once, not once a level."""
    holders: set[int] = set()
    for tag in body.find_all(STRUCTURE):
        for parent in tag.parents:
            if id(parent) in holders:
                break
            holders.add(id(parent))
    return holders


def _walk(parent: "Tag", outline: Outline, holders: set[int]) -> None:
    from bs4.element import NavigableString, Tag

    loose: list[str] = []
    for child in parent.children:
        if isinstance(child, Tag) and (child.name in STRUCTURE or id(child) in holders):
            outline.paragraph(" ".join(" ".join(loose).split()))
            loose = []
            _block(child, outline, holders)
        elif isinstance(child, Tag):
            loose.append("\n" if child.name == "br" else child.get_text(" "))
        elif type(child) is NavigableString:  # comments and doctypes are subclasses
            loose.append(str(child))
    outline.paragraph(" ".join(" ".join(loose).split()))


def _block(tag: "Tag", outline: Outline, holders: set[int]) -> None:
    if tag.name in HEADINGS:
        outline.heading(int(tag.name[1]), tag.get_text(" ", strip=True))
    elif tag.name == "table":
        _table(tag, outline, holders)
    elif tag.name == "pre":
        outline.paragraph(re.sub(r"[ \t]+\n", "\n", tag.get_text()).strip("\n"))
    elif tag.name in BLOCKS and id(tag) not in holders:
        bullet = "- " if tag.name == "li" else ""
        outline.paragraph(bullet + " ".join(tag.get_text(" ").split()))
    else:
        _walk(tag, outline, holders)


def _table(tag: "Tag", outline: Outline, holders: set[int]) -> None:
    """Add a table's rows. One that holds headings or tables lays out the page: walk through it."""
    if tag.find([*HEADINGS, "table"]) is not None:
        for cell in tag.find_all(["td", "th", "caption"]):
            if cell.find_parent("table") is tag:
                _walk(cell, outline, holders)
        return
    caption = tag.find("caption")
    if caption is not None:
        outline.paragraph(caption.get_text(" ", strip=True))
    rows = []
    for row in tag.find_all("tr"):
        cells = []
        for cell in row.find_all(["th", "td"]):
            cells.append(cell.get_text(" ", strip=True))
            span = str(cell.get("colspan", "1"))
            cells += [""] * (min(int(span), 64) - 1 if span.isdecimal() else 0)
        rows.append(cells)
    outline.lines(table_lines(rows))
