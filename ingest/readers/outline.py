"""The running outline of a document while a reader walks through it."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from ingest.document import Block, Reading


class Outline:
    """Collects paragraphs under the headings they stand below, and pages where there are any."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._title = ""
        self._headings: list[tuple[int, str]] = []
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._page: int | None = None
        self._is_bare = False  # nothing yet below the last heading
        self.metadata: dict[str, str] = {}
        """What the file says of itself."""

    def heading(self, level: int, text: str) -> None:
        """Open a section; the first heading of level 1 is the document's title."""
        text = " ".join(text.split())
        if not text:
            return
        self._flush()
        if level == 1 and not self._title:
            self._title = text
            self._headings = []
            return
        self._keep_bare(level)
        self._headings = [(n, t) for n, t in self._headings if n < level] + [(level, text)]
        self._is_bare = True

    def paragraph(self, text: str) -> None:
        """Add text to the open section."""
        if text.strip():
            self._parts.append(text.strip())

    def lines(self, lines: Sequence[str]) -> None:
        """Add lines that belong together, such as the rows of a table."""
        self.paragraph("\n".join(lines))

    def turn_page(self, page: int) -> None:
        """Go on to page `page`, counted from 1: a block never spans two."""
        self._flush()
        self._page = page

    def member(self, name: str, reading: Reading) -> None:
        """Add a file that lies inside this one, under its name; its title is the next heading."""
        self._flush()
        self._is_bare = False
        above = (name,) if _same(reading.title, name) else (name, reading.title)
        for block in reading.blocks:
            self._blocks.append(Block(block.text, above + block.headings, block.page))

    def reading(self, pages: int | None = None) -> Reading:
        """Return all that was collected."""
        self._flush()
        self._keep_bare(0)
        if self._title and not self._blocks:
            self._blocks.append(Block(self._title))
        return Reading(self._title or self._name, tuple(self._blocks), pages, self.metadata)

    def _keep_bare(self, level: int) -> None:
        """Make a text of a heading that nothing stood below, before one of `level` follows it."""
        if self._is_bare and self._headings[-1][0] >= level:
            *above, (_, text) = self._headings
            self._blocks.append(Block(text, tuple(text for _, text in above), self._page))
        self._is_bare = False

    def _flush(self) -> None:
        if self._parts:
            self._is_bare = False
            headings = tuple(text for _, text in self._headings)
            self._blocks.append(Block("\n\n".join(self._parts), headings, self._page))
            self._parts = []


def _same(title: str, name: str) -> bool:
    """Return whether a title is only the file's name again."""
    stem = PurePosixPath(name).stem.replace("-", " ").replace("_", " ")
    return title in ("", name, PurePosixPath(name).name, stem)


def table_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line a row, each cell under its column's name, so that a row can stand alone.

    The first row holds the column names. `Part: Impeller; Price: EUR 12.00`
    """
    cleaned = [[" ".join(cell.split()) for cell in row] for row in rows if any(row)]
    if not cleaned:
        return []
    header, *body = cleaned
    if not body:
        return ["; ".join(cell for cell in header if cell)]
    lines = []
    for row in body:
        cells = [
            f"{column}: {cell}" if column else cell
            for column, cell in zip(header, row, strict=False)
            if cell
        ]
        lines.append("; ".join(cells))
    return lines
