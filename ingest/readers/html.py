"""HTML: the text of the page without its furniture."""

from bs4 import BeautifulSoup
from bs4.element import NavigableString, Tag

from ingest.document import Reading
from ingest.readers.outline import Outline, table_lines

FURNITURE = ["script", "style", "noscript", "template", "nav", "footer", "aside", "form", "svg"]
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
BLOCKS = {"p", "li", "pre", "blockquote", "dd", "dt", "figcaption", "caption", "address"}


def read_html(content: bytes, name: str) -> Reading:
    """Read HTML. The title is the first `h1`, else the `title` element, else `name`."""
    page = BeautifulSoup(content, "html.parser")
    title = page.title.get_text(" ", strip=True) if page.title else ""
    for furniture in page.find_all(FURNITURE):
        furniture.decompose()
    outline = Outline(title or name)
    _walk(page.body or page, outline)
    return outline.reading()


def _walk(parent: Tag, outline: Outline) -> None:
    loose: list[str] = []
    for child in parent.children:
        if isinstance(child, Tag) and (
            child.name in HEADINGS | BLOCKS | {"table"} or _holds(child)
        ):
            outline.paragraph(" ".join(" ".join(loose).split()))
            loose = []
            _block(child, outline)
        elif isinstance(child, Tag):
            loose.append(child.get_text(" "))
        elif type(child) is NavigableString:  # comments and doctypes are subclasses
            loose.append(str(child))
    outline.paragraph(" ".join(" ".join(loose).split()))


def _holds(tag: Tag) -> bool:
    return tag.find([*HEADINGS, *BLOCKS, "table"]) is not None


def _block(tag: Tag, outline: Outline) -> None:
    if tag.name in HEADINGS:
        outline.heading(int(tag.name[1]), tag.get_text(" ", strip=True))
    elif tag.name == "table":
        rows = [
            [cell.get_text(" ", strip=True) for cell in row.find_all(["th", "td"])]
            for row in tag.find_all("tr")
        ]
        outline.lines(table_lines(rows))
    elif tag.name in BLOCKS and not _holds(tag):
        bullet = "- " if tag.name == "li" else ""
        outline.paragraph(bullet + " ".join(tag.get_text(" ").split()))
    else:
        _walk(tag, outline)
