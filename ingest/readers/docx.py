"""DOCX: paragraphs, headings, tables, text boxes and notes in the order they stand."""

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from ingest.document import Reading
from ingest.errors import DocumentError
from ingest.readers.job import Job
from ingest.readers.office import account, core_metadata
from ingest.readers.outline import Outline, table_lines

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
NOT_SHOWN = {f"{W}del", f"{W}moveFrom", f"{W}instrText", FALLBACK}
"""Deleted text, field codes, and the second version of a drawing that old programs show."""
HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)


def read_docx(content: bytes, name: str, job: Job) -> Reading:
    """Read a Word document.

    Raises:
        DocumentError: damaged.
        OverLimitError: it unpacks to too much.
    """
    import docx
    from docx.opc.exceptions import PackageNotFoundError

    try:
        account(content, job)
        document = docx.Document(io.BytesIO(content))
    except (zipfile.BadZipFile, PackageNotFoundError, KeyError, ValueError, SyntaxError) as error:
        raise DocumentError(f"The Word document is damaged: {error}") from None
    outline = Outline(name)
    outline.metadata.update(core_metadata(document.core_properties))
    styles = {style.style_id: style.name or "" for style in document.styles}
    walk = _Walk(outline, styles, _notes(document))
    walk.blocks(document.element.body)
    return outline.reading()


class _Walk:
    """Walks the body's XML. python-docx's own text leaves out insertions, controls and boxes."""

    def __init__(self, outline: Outline, styles: dict[str, str], notes: dict[str, str]) -> None:
        self._outline = outline
        self._styles = styles
        self._notes = notes

    def blocks(self, parent: Any) -> None:
        """Add paragraphs and tables, also those inside content controls."""
        for element in parent:
            if element.tag == f"{W}p":
                self._paragraph(element)
            elif element.tag == f"{W}tbl":
                self._outline.lines(table_lines(list(self._rows(element))))
            elif element.tag in (f"{W}sdt", f"{W}sdtContent", f"{W}ins", f"{W}customXml"):
                self.blocks(element)

    def _paragraph(self, element: Any) -> None:
        boxes: list[Any] = []
        notes: list[str] = []
        text = "".join(self._pieces(element, boxes, notes)).strip()
        style = self._style(element)
        level = HEADING.fullmatch(style)
        if style == "Title":
            self._outline.heading(1, text)
        elif level:
            self._outline.heading(int(level.group(1)), text)
        elif text:
            is_item = style.startswith("List") or element.find(f"{W}pPr/{W}numPr") is not None
            self._outline.paragraph("- " * is_item + text)
        for note in notes:
            self._outline.paragraph(self._notes.get(note, ""))
        for box in boxes:
            self.blocks(box)

    def _style(self, element: Any) -> str:
        style = element.find(f"{W}pPr/{W}pStyle")
        key = "" if style is None else style.get(f"{W}val", "")
        return self._styles.get(key, key)

    def _pieces(self, element: Any, boxes: list[Any], notes: list[str]) -> Iterator[str]:
        """Yield a paragraph's text; its boxes and the keys of its notes are gathered beside it."""
        for child in element:
            tag = child.tag
            if tag in NOT_SHOWN:
                continue
            if tag == f"{W}txbxContent":
                boxes.append(child)
            elif tag in (f"{W}t", "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"):
                yield child.text or ""
            elif tag == f"{W}tab":
                yield "\t" if element.tag == f"{W}r" else ""  # elsewhere it defines a tab stop
            elif tag in (f"{W}br", f"{W}cr"):
                yield "\n"
            elif tag == f"{W}noBreakHyphen":
                yield "-"
            elif tag in (f"{W}footnoteReference", f"{W}endnoteReference"):
                notes.append(f"{tag.removeprefix(W)[:4]}{child.get(f'{W}id')}")
            else:
                yield from self._pieces(child, boxes, notes)

    def _rows(self, table: Any) -> Iterator[list[str]]:
        for row in table.iter(f"{W}tr"):
            if next(row.iterancestors(f"{W}tbl")) is not table:
                continue  # of a table inside a cell, whose text its cell has
            cells = []
            for cell in row.iter(f"{W}tc"):
                if next(cell.iterancestors(f"{W}tr")) is not row:
                    continue
                cells.append(self._cell(cell))
                span = cell.find(f"{W}tcPr/{W}gridSpan")
                if span is not None and (span.get(f"{W}val") or "").isdigit():
                    cells += [""] * min(int(span.get(f"{W}val")) - 1, 63)
            yield cells

    def _cell(self, cell: Any) -> str:
        boxes: list[Any] = []
        texts = ("".join(self._pieces(paragraph, boxes, [])) for paragraph in cell.iter(f"{W}p"))
        return " ".join(text for text in texts if text.strip())


def _notes(document: Any) -> dict[str, str]:
    """Return the text of footnotes and endnotes by `foot3`, `endn2`."""
    from docx.oxml import parse_xml

    notes = {}
    for relation in document.part.rels.values():
        kind = relation.reltype.rsplit("/", 1)[-1]
        if kind not in ("footnotes", "endnotes") or relation.is_external:
            continue
        for note in parse_xml(relation.target_part.blob):
            text = "".join(piece.text or "" for piece in note.iter(f"{W}t")).strip()
            notes[f"{kind[:4]}{note.get(f'{W}id')}"] = text
    return notes
