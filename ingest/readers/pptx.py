"""PPTX: each slide is a page under its title; text, tables, then the speaker's notes."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from ingest.document import Reading
from ingest.errors import DocumentError, OverLimitError
from ingest.readers.job import Job
from ingest.readers.office import account, core_metadata
from ingest.readers.outline import Outline, table_lines


def read_pptx(content: bytes, name: str, job: Job) -> Reading:
    """Read a presentation. Its title is the one of its properties, else that of its first slide.

    Raises:
        DocumentError: damaged.
        OverLimitError: it unpacks to too much, or has too many slides.
    """
    import pptx
    from pptx.exc import PythonPptxError

    try:
        account(content, job)
        slides = pptx.Presentation(io.BytesIO(content))
    except (zipfile.BadZipFile, PythonPptxError, KeyError, ValueError, SyntaxError) as error:
        raise DocumentError(f"The presentation is damaged: {error}") from None
    count = len(slides.slides)
    if count > job.limits.pages:
        raise OverLimitError(f"It has {count} slides; at most {job.limits.pages} are read.")
    outline = Outline(name)
    outline.metadata.update(core_metadata(slides.core_properties))
    title = slides.core_properties.title
    if title and title != "PowerPoint Presentation":  # what the program calls every one
        outline.heading(1, title)
    for number, slide in enumerate(slides.slides, start=1):
        outline.turn_page(number)
        head = slide.shapes.title
        heading = head.text_frame.text if head is not None and head.has_text_frame else ""
        outline.heading(1 if number == 1 and not title else 2, heading or f"Slide {number}")
        for shape in _shapes(slide.shapes):
            if head is None or shape.shape_id != head.shape_id:
                _add(shape, outline)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            outline.paragraph(slide.notes_slide.notes_text_frame.text)
    return outline.reading(count)


def _shapes(shapes: Any) -> Iterator[Any]:
    """Yield shapes in the order they were drawn, those of groups one by one."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _add(shape: Any, outline: Outline) -> None:
    if shape.has_text_frame:
        lines = [
            "- " * (paragraph.level > 0) + paragraph.text.replace("\v", "\n").strip()
            for paragraph in shape.text_frame.paragraphs
            if paragraph.text.strip()
        ]
        outline.lines(lines)
    elif getattr(shape, "has_table", False):
        outline.lines(table_lines([[cell.text for cell in row.cells] for row in shape.table.rows]))
    elif getattr(shape, "has_chart", False):
        outline.lines(_chart(shape.chart))


def _chart(chart: Any) -> list[str]:
    """Return a chart as the table that it was drawn from."""
    rows: list[list[str]] = []
    for plot in chart.plots:
        names = [series.name or "" for series in plot.series]
        rows.append(["", *names])
        for position, category in enumerate(plot.categories):
            values = [_at(series.values, position) for series in plot.series]
            rows.append([str(category), *values])
    return table_lines(rows)


def _at(values: Any, position: int) -> str:
    value = values[position] if position < len(values) else None
    return "" if value is None else f"{value:g}"
