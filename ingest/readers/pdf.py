"""PDF: the text layer, page by page, with headings told by their size."""

import re
from collections import Counter
from typing import Any, NamedTuple

from ingest.document import Reading
from ingest.errors import DocumentError
from ingest.readers.job import Job
from ingest.readers.outline import Outline

HEADING_RATIO = 1.15
"""A line this much taller than the body text is a heading."""


class Line(NamedTuple):
    """A line of text on a page."""

    text: str
    size: float
    """Font size in points, of its largest character."""
    gap: float
    """Distance to the line above, in points."""


def read_pdf(content: bytes, name: str, job: Job) -> Reading:
    """Read a PDF's text layer.

    Raises:
        DocumentError: encrypted, damaged, or without any text (a scan).
    """
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        reason = "it is encrypted" if "assword" in str(error) else "it is damaged or not a PDF"
        raise DocumentError(f"The PDF cannot be opened: {reason}.") from None
    try:
        pages = [_lines(page) for page in pdf]
    finally:
        pdf.close()
    if not any(pages):
        raise DocumentError("The PDF has no text, only pictures: it needs OCR first.")
    sizes: Counter[float] = Counter()
    for line in (line for page in pages for line in page):
        sizes[line.size] += len(line.text)
    body = sizes.most_common(1)[0][0]
    larger = sorted({line.size for page in pages for line in page if line.size > body * 1.15})
    outline = Outline(name)
    for number, page in enumerate(pages, start=1):
        outline.turn_page(number)
        _paragraphs(page, body, larger, outline)
    return outline.reading(len(pages))


def _lines(page: Any) -> list[Line]:
    """Return a page's lines, top to bottom, with their font sizes."""
    import ctypes

    import pypdfium2.raw as raw

    textpage = page.get_textpage()
    try:
        lines: list[Line] = []
        text, size, bottom = "", 0.0, 0.0
        above: float | None = None
        for index in range(textpage.count_chars()):
            character = chr(raw.FPDFText_GetUnicode(textpage, ctypes.c_int(index)))
            if character in "\r\n":
                if text.strip():
                    gap = above - bottom if above is not None else 0.0
                    lines.append(Line(" ".join(text.split()), size, gap))
                    above = bottom
                text, size = "", 0.0
                continue
            text += character
            if not character.isspace():
                size = max(size, round(raw.FPDFText_GetFontSize(textpage, ctypes.c_int(index)), 1))
                bottom = textpage.get_charbox(index, loose=True)[1]
        if text.strip():
            lines.append(Line(" ".join(text.split()), size, above - bottom if above else 0.0))
        return lines
    finally:
        textpage.close()


def _paragraphs(lines: list[Line], body: float, larger: list[float], outline: Outline) -> None:
    paragraph: list[str] = []
    pitch = _pitch(lines, body)
    heading: list[str] = []
    level = 0

    def close() -> None:
        if heading:
            outline.heading(level, " ".join(heading))
            heading.clear()
        outline.paragraph("\n".join(paragraph) if _is_table(paragraph) else " ".join(paragraph))
        paragraph.clear()

    for line in lines:
        if line.size > body * HEADING_RATIO:
            line_level = len(larger) - larger.index(line.size)
            if paragraph or (heading and (line_level != level or line.gap > line.size * 1.8)):
                close()
            level = line_level
            heading.append(line.text)
        else:
            if heading or (paragraph and line.gap > pitch * 1.35):
                close()
            paragraph.append(line.text)
    close()


def _pitch(lines: list[Line], body: float) -> float:
    """Return the usual distance between two lines of body text, in points."""
    gaps = Counter(round(line.gap, 1) for line in lines if line.size == body and line.gap > 0)
    return gaps.most_common(1)[0][0] if gaps else body * 1.2


def _is_table(lines: list[str]) -> bool:
    """Rows of a table are short lines that mostly hold a number or a code."""
    if len(lines) < 3:
        return False
    telling = sum(bool(re.search(r"\d", line)) for line in lines)
    return telling >= 0.7 * len(lines) and max(map(len, lines)) < 70
