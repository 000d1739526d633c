"""PDF: the text layer, page by page; scanned pages by OCR. Headings are told by size and weight."""

import re
import statistics
from collections import Counter
from itertools import pairwise
from typing import Any, NamedTuple

from ingest.document import Reading
from ingest.errors import DocumentError, OverLimitError
from ingest.readers.job import Job
from ingest.readers.ocr import MISSING, is_installed, recognise
from ingest.readers.outline import Outline
from ingest.readers.page_layout import (
    Line,
    Segment,
    Table,
    joined,
    lines_of,
    regions_of,
    row_lines,
    segments_of,
    table_of,
)
from ingest.readers.pdf_rules import NEAR, drawn_table, grids_of
from ingest.readers.pdf_words import Words, words_of

HEADING_RATIO = 1.15
"""A line this much taller than the body text is a heading."""
BOLD_HEADING = 80
"""Characters up to which a bold line of body size that stands alone is a heading."""
MARGIN = 0.1
"""Share of the page's height, above and below, in which running heads and page numbers stand."""
RUNNING_PAGES = (3, 5)
"""Pages on which a line in the margin recurs if it is a running head: of a short file, of any."""
NUMBERS = [re.compile(p, re.I) for p in (r"(?<=page )\d{1,4}\b", r"^\d{1,4}\b", r"\b\d{1,4}$")]
"""Where a page's number stands in such a line, likeliest first."""
NUMBER_OFFSET = 50
"""A page's printed number differs from its place in the file by so much at most."""
SCAN_CHARS = 16
"""A page with fewer characters, most of it a picture, is a scan: the rest is its page number."""
SCAN_COVER = 0.5
TABLE_MARGIN = 0.3
"""A table that goes on overleaf ends in this share of the page, and begins in that of the next."""


class Page(NamedTuple):
    """What stands on a page."""

    segments: list[Segment]
    turned: list[str]
    height: float
    recognised: str
    """What OCR made of a scan; its segments are not used then."""


def read_pdf(content: bytes, name: str, job: Job) -> Reading:
    """Read a PDF.

    Scanned pages that cannot be recognised are named in the metadata (`skipped`).

    Raises:
        DocumentError: encrypted, damaged, or nothing but scans and no OCR here.
        OverLimitError: too many pages.
    """
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if "assword" in str(error):
            raise DocumentError(
                "The PDF cannot be opened: it is encrypted.", hint="Save it without a password."
            ) from None
        raise DocumentError("The PDF cannot be opened: it is damaged or not a PDF.") from None
    try:
        if len(pdf) > job.limits.pages:
            raise OverLimitError(
                f"It has {len(pdf)} pages; at most {job.limits.pages} are read.",
                hint="Split it into several files.",
            )
        pages, unread = _pages(pdf, job)
        outline = Outline(name)
        outline.metadata.update(_metadata(pdf))
    finally:
        pdf.close()
    if unread:
        outline.metadata["skipped"] = unread
    _drop_running(pages)
    _carry_headers(pages)
    _write(pages, outline)
    return outline.reading(len(pages))


def _pages(pdf: Any, job: Job) -> tuple[list[Page], str]:
    """Return the pages, and what is to be said of those that could not be read."""
    import pypdfium2

    pages: list[Page] = []
    scans: list[int] = []
    damaged: list[int] = []
    for number in range(1, len(pdf) + 1):
        try:
            page = pdf[number - 1]
        except pypdfium2.PdfiumError:
            damaged.append(number)
            pages.append(Page([], [], 1.0, ""))
            continue
        words = words_of(page)
        segments = _segments(page, words)
        recognised = ""
        if sum(len(s.text) for s in segments) < SCAN_CHARS and _is_picture(page):
            scans.append(number)
            if is_installed() and len(scans) <= job.limits.ocr_pages:
                recognised = recognise(page, job.limits.ocr_languages)
                job.on_page()
        pages.append(Page(segments, words.turned, words.height, recognised))
        page.close()
    if len(damaged) == len(pages):
        raise DocumentError("The PDF is damaged: none of its pages can be read.")
    unread = [f"damaged pages: {_listed(damaged)}"] if damaged else []
    if scans and not is_installed():
        if not any(page.segments for page in pages):
            raise DocumentError(f"The PDF has no text, only pictures. {MISSING}")
        unread.append(f"scanned pages: {_listed(scans)}. {MISSING}")
    elif len(scans) > job.limits.ocr_pages:
        unread.append(f"scanned pages: {_listed(scans[job.limits.ocr_pages :])}")
    elif not any(page.segments or page.turned or page.recognised for page in pages):
        pictures = ", only pictures, and OCR finds none in them" if scans else ""
        raise DocumentError(f"The PDF has no text{pictures}.")
    return pages, "; ".join(unread)


def _segments(page: Any, words: Words) -> list[Segment]:
    """Return lines and cells, and whole tables where rules show their cells."""
    tables: list[Segment] = []
    loose = words.upright
    for grid in grids_of(page) if words.upright and not words.quarter else []:
        inside = [word for word in loose if grid.holds(word)]
        table = drawn_table(grid, inside)
        if table is None:
            continue
        loose = [word for word in loose if not grid.holds(word)]
        tables.append(
            Segment(
                "\n".join(row_lines(table.rows)),
                *(grid.down[0].at, grid.down[-1].at, grid.across[-1].at, grid.across[0].at),
                size=statistics.median(word.size for word in inside),
                bold=False,
                words=len(inside),
                table=table,
            )
        )
    return segments_of(loose) + tables


def _is_picture(page: Any) -> bool:
    """Return whether pictures cover most of the page."""
    import pypdfium2.raw as raw

    width, height = page.get_size()
    covered = 0.0
    for picture in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=4):
        left, bottom, right, top = picture.get_bounds()
        covered += max(0.0, right - left) * max(0.0, top - bottom)
    return bool(covered > SCAN_COVER * width * height)


def _listed(numbers: list[int]) -> str:
    more = f" and {len(numbers) - 20} more" if len(numbers) > 20 else ""
    return ", ".join(map(str, numbers[:20])) + more


def _metadata(pdf: Any) -> dict[str, str]:
    said = pdf.get_metadata_dict(skip_empty=True)
    date = re.match(r"D:(\d{4})(\d\d)(\d\d)", said.get("ModDate") or said.get("CreationDate") or "")
    found = {key.lower(): said.get(key, "") for key in ("Author", "Subject", "Keywords")}
    found["date"] = "-".join(date.groups()) if date else ""
    return found


def _drop_running(pages: list[Page]) -> None:
    """Keep running heads and page numbers on the first page that has them, and nowhere else."""
    places = Counter(
        key
        for number, page in enumerate(pages, start=1)
        for key in {_place(page, number, segment) for segment in page.segments}
    )
    often = {
        key
        for key, count in places.items()
        if key is not None
        and count >= max(RUNNING_PAGES[0], min(0.4 * len(pages), RUNNING_PAGES[1]))
    }
    kept: set[object] = set()
    for number, page in enumerate(pages, start=1):
        stay = []
        for segment in page.segments:
            key = _place(page, number, segment)
            if key not in often or key not in kept:
                stay.append(segment)
            kept.add(key)
        page.segments[:] = stay


def _place(page: Page, number: int, segment: Segment) -> tuple[str, int] | None:
    """Return what recurs of a segment in the margin: its text, with the page's number made one."""
    if (
        page.height * MARGIN < segment.bottom < page.height * (1 - MARGIN)
        or segment.table is not None
    ):
        return None

    def relative(found: re.Match[str]) -> str:
        offset = int(found.group()) - number
        return f"#{offset}" if abs(offset) <= NUMBER_OFFSET else found.group()

    pattern = next((p for p in NUMBERS if p.search(segment.text)), NUMBERS[0])
    return pattern.sub(relative, segment.text, count=1), round(segment.bottom / 4)


def _carry_headers(pages: list[Page]) -> None:
    """Give a table that goes on from the page before the header that it has there."""
    for page, following in pairwise(pages):
        last, first = _outermost(page, -1), _outermost(following, 0)
        if last is None or first is None or last.table is None or first.table is None:
            continue
        ends_low = last.bottom < TABLE_MARGIN * page.height
        begins_high = first.top > (1 - TABLE_MARGIN) * following.height
        if ends_low and begins_high and _goes_on(last.table, first.table):
            table = first.table._replace(
                rows=[last.table.rows[0], *first.table.rows], bold=last.table.bold
            )
            text = "\n".join(row_lines(table.rows))
            place = following.segments.index(first)
            following.segments[place] = first._replace(text=text, table=table)


def _outermost(page: Page, place: int) -> Segment | None:
    """Return the highest segment (0) or the lowest (-1), running heads and page numbers aside."""
    inner = [
        segment
        for segment in page.segments
        if segment.table is not None
        or page.height * MARGIN < segment.bottom < page.height * (1 - MARGIN)
    ]
    inner.sort(key=lambda segment: -segment.top)
    return inner[place] if inner else None


def _goes_on(table: Table, after: Table) -> bool:
    """Return whether `after` has the columns of `table`, and no header of its own."""
    widths = [[edge - one.edges[0] for edge in one.edges] for one in (table, after)]
    return (
        table.has_header
        and len(widths[0]) == len(widths[1])
        and all(abs(a - b) <= NEAR for a, b in zip(*widths, strict=True))
        and after.rows[0] != table.rows[0]
        and not after.bold
    )


def _write(pages: list[Page], outline: Outline) -> None:
    sizes: Counter[float] = Counter()
    bold = 0
    for segment in (segment for page in pages for segment in page.segments):
        sizes[segment.size] += len(segment.text)
        bold += len(segment.text) * segment.bold
    body = sizes.most_common(1)[0][0] if sizes else 0.0
    larger = sorted(size for size in sizes if size > body * HEADING_RATIO)
    headings = _Headings(body, larger, bold < 0.3 * sizes.total())
    for number, page in enumerate(pages, start=1):
        outline.turn_page(number)
        if page.recognised:
            for paragraph in page.recognised.split("\n\n"):
                outline.paragraph(joined(paragraph.split("\n")))
            continue
        for region in regions_of(page.segments):
            _paragraphs(lines_of(region), headings, outline)
        outline.paragraph(" ".join(page.turned))


class _Headings(NamedTuple):
    """What tells headings in one document."""

    body: float
    """Font size of most of the text, in points."""
    larger: list[float]
    """The sizes of headings, ascending."""
    bold: bool
    """Whether bold lines are headings: not where half the text is bold."""

    def level(self, line: Line) -> int | None:
        """Return a line's level by its size alone, 1 the largest; None for body text."""
        if line.size <= self.body * HEADING_RATIO:
            return None
        return len(self.larger) - self.larger.index(line.size)

    def is_bold_heading(self, lines: list[Line]) -> bool:
        """Return whether a paragraph is a heading by its weight."""
        if not self.bold or len(lines) > 2 or any(len(line.cells) > 1 for line in lines):
            return False
        text = " ".join(line.text for line in lines)
        is_short = len(text) <= BOLD_HEADING and text[-1] not in ".,;:"
        return is_short and all(line.bold for line in lines)


def _paragraphs(lines: list[Line], headings: _Headings, outline: Outline) -> None:
    paragraph: list[Line] = []
    heading: list[str] = []
    level = 0
    pitch = _pitch(lines, headings.body)

    def close() -> None:
        if heading:
            outline.heading(level, joined(heading))
            heading.clear()
        if paragraph and headings.is_bold_heading(paragraph):
            outline.heading(
                max(2, len(headings.larger) + 1), joined([line.text for line in paragraph])
            )
        else:
            _paragraph(paragraph, outline)
        paragraph.clear()

    for line in lines:
        if line.is_table:
            close()
            outline.paragraph(line.text)
            continue
        its_level = headings.level(line)
        if its_level is not None:
            if paragraph or (heading and (its_level != level or line.gap > line.size * 1.8)):
                close()
            level = its_level
            heading.append(line.text)
        else:
            if heading or (paragraph and _parts(paragraph, line, pitch)):
                close()
            paragraph.append(line)
    close()


def _parts(paragraph: list[Line], line: Line, pitch: float) -> bool:
    """Return whether `line` begins a new paragraph; rows of a table stand wider apart."""
    if len(paragraph[-1].cells) > 1 and len(line.cells) > 1:
        return line.gap > 3 * line.size
    if line.bold != paragraph[-1].bold and len(paragraph[-1].cells) == len(line.cells) == 1:
        return line.gap > pitch * 1.1
    return line.gap > pitch * 1.35


def _pitch(lines: list[Line], body: float) -> float:
    """Return the usual distance between two lines of body text, in points."""
    gaps = Counter(round(line.gap, 1) for line in lines if line.size == body and line.gap > 0)
    often = max(gaps.values(), default=0) / 2
    return min((gap for gap, count in gaps.items() if count >= often), default=body * 1.2)


def _paragraph(lines: list[Line], outline: Outline) -> None:
    """Add lines as tables where they have cells, as rows where they look so, else as prose."""
    start = 0
    while start < len(lines):
        end = start + 1
        is_row = len(lines[start].cells) > 1
        while end < len(lines) and (len(lines[end].cells) > 1) == is_row:
            end += 1
        if is_row:  # a cell that goes on in the next line may stand there alone
            while end < len(lines) and _continues(lines[start:end], lines[end]):
                end += 1
        part = lines[start:end]
        rows = table_of(part) if is_row else None
        texts = [line.text for line in part]
        if rows is not None:
            outline.lines(row_lines(rows))
        elif is_row and len(part) > 1:
            outline.lines(["; ".join(cell.text for cell in line.cells) for line in part])
        else:
            outline.paragraph("\n".join(texts) if _is_list(texts) else joined(texts))
        start = end


def _continues(rows: list[Line], line: Line) -> bool:
    """Return whether `line` belongs to the table above: more cells, or the rest of one."""
    if len(line.cells) > 1:
        return True
    first = min(row.cells[0].left for row in rows)
    return line.gap < 1.5 * line.size and line.cells[0].left > first + 2 * line.size


def _is_list(lines: list[str]) -> bool:
    """Rows of a table are short lines that mostly hold a number or a code."""
    if len(lines) < 3:
        return False
    telling = sum(bool(re.search(r"\d", line)) for line in lines)
    return telling >= 0.7 * len(lines) and max(map(len, lines)) < 70
