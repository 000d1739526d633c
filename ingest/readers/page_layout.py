"""From words on a page to lines in reading order: columns one after the other, rows of tables."""

import re
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ingest.readers.outline import table_lines
from ingest.readers.pdf_words import HYPHENS, Word

BULLET = re.compile(r"[•◦▪‣·–—*o-]|\(?[0-9a-zA-Z]{1,3}[.)]")
VALUE = re.compile(r"[\W\d]*\d[\W\d]*")
"""A number, an amount, a date: no name of a column."""
LEADERS = re.compile(r"(?: ?\.){5,}")
"""Dots that lead the eye from an entry to its page."""
GAP = 1.0
"""A gap of that many font sizes between two words parts them: cells, or columns."""
BULLET_GAP = 4.0
GRID = 2.0  # points between the places where a gutter is looked for
GUTTER_LINES = 5
"""Lines on either side that make two columns; fewer are a table, or chance."""
GUTTER_FILL = 0.5
"""Share of a column's width that its typical line fills; cells of a table are shorter."""
GUTTER_WORDS = 3
MAX_CROSSING = 0.25
"""Share of a page's lines that may run across a gutter: titles, figures."""


class Table(NamedTuple):
    """A table whose cells are drawn."""

    rows: list[list[str]]
    """From top to bottom; an empty text for an empty cell."""
    edges: list[float]
    """Where its columns begin and the last one ends, in points."""
    bold: bool
    """The first row is bold."""

    @property
    def has_header(self) -> bool:
        """Whether the first row names the columns: it holds no number like the others."""
        return not holds_value(self.rows[0])


class Segment(NamedTuple):
    """Words that stand closely beside each other: a line of a column, a cell of a table."""

    text: str
    left: float
    right: float
    bottom: float
    top: float
    size: float
    """Of its largest word, in points."""
    bold: bool
    """All of it."""
    words: int
    table: Table | None = None
    """It is a whole table; its text has a line a row."""


class Line(NamedTuple):
    """A line of one column: one segment, or the cells of a row."""

    cells: tuple[Segment, ...]
    gap: float
    """Distance to the line above in its column, in points; 0 for the first."""

    @property
    def is_table(self) -> bool:
        """It is a whole table."""
        return self.cells[0].table is not None

    @property
    def text(self) -> str:
        """The whole line."""
        return " ".join(cell.text for cell in self.cells)

    @property
    def size(self) -> float:
        """Font size in points, of its largest word."""
        return max(cell.size for cell in self.cells)

    @property
    def bold(self) -> bool:
        """All of it is bold."""
        return all(cell.bold for cell in self.cells)


def segments_of(words: Sequence[Word]) -> list[Segment]:
    """Join words into segments."""
    segments: list[Segment] = []
    run: list[Word] = []
    for word in words:
        if run and not _goes_on(run[-1], word, len(run) == 1):
            segments.append(_segment(run))
            run = []
        run.append(word)
    if run:
        segments.append(_segment(run))
    return segments


def _goes_on(last: Word, word: Word, is_second: bool) -> bool:
    size = max(last.size, word.size, 1.0)
    if abs(word.bottom - last.bottom) > 0.5 * size or "\n" in word.before:
        return False
    gap = max(word.left - last.right, last.left - word.right)  # either writing direction
    limit = BULLET_GAP if is_second and BULLET.fullmatch(last.text) else GAP
    return gap <= limit * size


def _segment(words: list[Word]) -> Segment:
    text = words[0].text + "".join((" " if word.before else "") + word.text for word in words[1:])
    return Segment(
        LEADERS.sub(" …", text) if "...." in text or ". . ." in text else text,
        min(word.left for word in words),
        max(word.right for word in words),
        words[-1].bottom,
        max(word.top for word in words),
        max(word.size for word in words),
        all(word.bold for word in words),
        len(words),
    )


def regions_of(segments: list[Segment]) -> Iterator[list[Segment]]:
    """Yield the segments column by column, in reading order.

    What runs across a gutter (a title, a wide figure) parts the columns above from those below.
    """
    gutter = _gutter(segments)
    if gutter is None:
        if segments:
            yield segments
        return
    band: list[Segment] = []
    for segment in sorted(segments, key=lambda segment: -segment.top):
        if segment.left < gutter < segment.right:
            yield from _sides(band, gutter)
            band = []
            yield [segment]
        else:
            band.append(segment)
    yield from _sides(band, gutter)


def _sides(band: list[Segment], gutter: float) -> Iterator[list[Segment]]:
    left = [segment for segment in band if segment.right <= gutter]
    right = [segment for segment in band if segment.right > gutter]
    yield from regions_of(left)
    yield from regions_of(right)


def _gutter(segments: list[Segment]) -> float | None:
    """Return the x between two columns of running text; None if there is one column."""
    if len(segments) < 2 * GUTTER_LINES:
        return None
    left = min(segment.left for segment in segments)
    right = max(segment.right for segment in segments)
    cells = int((right - left) / GRID) + 1
    if cells < 20 or cells > 10_000:
        return None
    changes = [0] * (cells + 2)
    for segment in segments:
        changes[int((segment.left - left) / GRID)] += 1
        changes[int((segment.right - left) / GRID) + 1] -= 1
    crossing, best, run, start = 0, len(segments) * MAX_CROSSING, 0, 0
    place: tuple[float, int] | None = None  # lines across, and minus the width of the gap
    middle = 0.0
    for cell in range(cells):
        previous = crossing
        crossing += changes[cell]
        if crossing != previous:
            start = cell
        if cells * 0.15 < cell < cells * 0.85 and crossing <= best:
            run = cell - start + 1
            if place is None or (crossing, -run) < place:
                place = (crossing, -run)
                middle = left + (start + run / 2) * GRID
    return middle if place is not None and _are_columns(segments, middle) else None


def _are_columns(segments: list[Segment], gutter: float) -> bool:
    sides = (
        [segment for segment in segments if segment.right <= gutter],
        [segment for segment in segments if segment.left >= gutter],
    )
    for side in sides:
        if len(side) < GUTTER_LINES:
            return False
        width = max(s.right for s in side) - min(s.left for s in side)
        fill = statistics.median(segment.right - segment.left for segment in side) / max(width, 1)
        if fill < GUTTER_FILL or statistics.median(s.words for s in side) < GUTTER_WORDS:
            return False
    # Beside each other, not one below the other.
    low = max(min(segment.bottom for segment in side) for side in sides)
    high = min(max(segment.top for segment in side) for side in sides)
    return high > low


def lines_of(region: list[Segment]) -> list[Line]:
    """Return the lines of one column from top to bottom."""
    rows: list[list[Segment]] = []
    for segment in sorted(region, key=lambda segment: -(segment.bottom + segment.top)):
        if rows and _beside(rows[-1][0], segment):
            rows[-1].append(segment)
        else:
            rows.append([segment])
    lines: list[Line] = []
    above: float | None = None
    for row in rows:
        row.sort(key=lambda segment: segment.left, reverse=_right_to_left(row))
        bottom = row[-1].bottom
        lines.append(Line(tuple(row), 0.0 if above is None else above - bottom))
        above = bottom
    return lines


def _beside(one: Segment, other: Segment) -> bool:
    shared = min(one.top, other.top) - max(one.bottom, other.bottom)
    return shared > 0.5 * min(one.top - one.bottom, other.top - other.bottom)


def _right_to_left(row: list[Segment]) -> bool:
    letters = "".join(segment.text for segment in row)
    return len(re.findall("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]", letters)) > len(letters) / 3


def joined(lines: Sequence[str]) -> str:
    """Return lines as running text; a word that a hyphen parted at a line's end is whole again."""
    text = ""
    for line in lines:
        if text.endswith(tuple(HYPHENS)):
            text = text[:-1] + line
        else:
            text = f"{text} {line}" if text else line
    return re.sub(f"[{HYPHENS}]", "-", text)


def table_of(lines: Sequence[Line]) -> list[list[str]] | None:
    """Return the rows of a table with a header; None if the lines are none.

    A line with nothing in its first column goes on with the cells of the row above.
    """
    columns = _columns(lines)
    if len(lines) < 2 or len(columns) < 2:
        return None
    rows: list[list[str]] = []
    for line in lines:
        row = [""] * len(columns)
        for cell in line.cells:
            at = next(i for i, (start, end) in enumerate(columns) if start <= cell.left <= end)
            row[at] = f"{row[at]} {cell.text}".strip()
        if rows and not row[0] and line.gap < 1.5 * line.size:
            rows[-1] = [f"{old} {new}".strip() for old, new in zip(rows[-1], row, strict=True)]
        else:
            rows.append(row)
    full = sum(sum(map(bool, row)) >= 0.6 * len(columns) for row in rows)
    if len(rows) < 2 or full < 0.7 * len(rows) or not all(rows[0]):
        return None
    return rows


def holds_value(row: Sequence[str]) -> bool:
    """Return whether a row holds a bare number, as the header of a table does not."""
    return any(VALUE.fullmatch(cell) for cell in row)


def row_lines(rows: list[list[str]]) -> list[str]:
    """Return a line a row, under the first row's names unless it holds numbers like the others."""
    if holds_value(rows[0]):
        return ["; ".join(filter(None, row)) for row in rows]
    return table_lines(rows)


def _columns(lines: Sequence[Line]) -> list[tuple[float, float]]:
    """Return where the columns of a table begin and end: cells that overlap share one."""
    spans = sorted((cell.left, cell.right) for line in lines for cell in line.cells)
    columns: list[tuple[float, float]] = []
    for start, end in spans:
        if columns and start <= columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], end))
        else:
            columns.append((start, end))
    return columns
