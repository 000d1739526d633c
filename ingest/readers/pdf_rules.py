"""Tables that are drawn with rules: the lines of a PDF page give the cells, the words fill them."""

import ctypes
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ingest.readers.page_layout import Table
from ingest.readers.pdf_words import Word

NEAR = 3.0  # points within which two rules meet, or are one
SHORTEST = 6.0  # points; shorter lines belong to drawings
MAX_POINTS = 4000
"""Points of the paths of a page that are looked at: maps and drawings have more."""
MAX_RULES = 400
MIN_FILLED = 0.4
"""Share of a table's cells that hold text; a chart's grid holds less."""


class Rule(NamedTuple):
    """A straight line along x (`at` is its y) or along y (`at` is its x), in points."""

    at: float
    start: float
    end: float


class Grid(NamedTuple):
    """Rules that meet."""

    across: list[Rule]
    """Horizontal, from top to bottom."""
    down: list[Rule]
    """Vertical, from left to right."""

    def holds(self, word: Word) -> bool:
        """Return whether the middle of `word` lies inside."""
        x, y = (word.left + word.right) / 2, (word.bottom + word.top) / 2
        return (
            self.down[0].at - NEAR < x < self.down[-1].at + NEAR
            and self.across[-1].at - NEAR < y < self.across[0].at + NEAR
        )


def grids_of(page: Any) -> list[Grid]:
    """Return the grids on a pdfium page, of two columns and two rows at least."""
    across, down = _rules(page)
    across, down = _merged(across), _merged(down)
    if len(across) < 3 or len(down) < 3 or len(across) + len(down) > MAX_RULES:
        return []
    grids = []
    left = set(range(len(across)))
    while left:
        rows, columns = _connected(left.pop(), across, down)
        left -= rows
        if len(rows) >= 3 and len(columns) >= 3:
            grids.append(
                Grid(
                    sorted((across[i] for i in rows), key=lambda rule: -rule.at),
                    sorted((down[i] for i in columns), key=lambda rule: rule.at),
                )
            )
    return grids


def _rules(page: Any) -> tuple[list[Rule], list[Rule]]:
    """Return the horizontal and vertical lines that are drawn on the page."""
    import pypdfium2.raw as raw

    across: list[Rule] = []
    down: list[Rule] = []
    points = 0
    x, y = ctypes.c_float(), ctypes.c_float()
    for path in page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH], max_depth=3):
        count = raw.FPDFPath_CountSegments(path)
        points += count
        if points > MAX_POINTS:
            break
        matrix = path.get_matrix()
        start = last = (0.0, 0.0)
        for index in range(count):
            segment = raw.FPDFPath_GetPathSegment(path, index)
            raw.FPDFPathSegment_GetPoint(segment, x, y)
            place = matrix.on_point(x.value, y.value)
            kind = raw.FPDFPathSegment_GetType(segment)
            if kind == raw.FPDF_SEGMENT_MOVETO:
                start = place
            elif kind == raw.FPDF_SEGMENT_LINETO:
                _add(last, place, across, down)
            last = place
            if raw.FPDFPathSegment_GetClose(segment):
                _add(last, start, across, down)
    return across, down


def _add(
    one: tuple[float, float], other: tuple[float, float], across: list[Rule], down: list[Rule]
) -> None:
    (x0, y0), (x1, y1) = one, other
    if abs(y0 - y1) < 1 and abs(x0 - x1) > SHORTEST:
        across.append(Rule((y0 + y1) / 2, min(x0, x1), max(x0, x1)))
    elif abs(x0 - x1) < 1 and abs(y0 - y1) > SHORTEST:
        down.append(Rule((x0 + x1) / 2, min(y0, y1), max(y0, y1)))


def _merged(rules: list[Rule]) -> list[Rule]:
    """Join the borders of neighbouring cells into the rules that they form together."""
    lanes: list[list[Rule]] = []
    for rule in sorted(rules):
        if lanes and rule.at - lanes[-1][0].at <= NEAR:
            lanes[-1].append(rule)
        else:
            lanes.append([rule])
    merged: list[Rule] = []
    for lane in lanes:
        at, start, end = lane[0].at, None, 0.0
        for rule in sorted(lane, key=lambda rule: rule.start):
            if start is not None and rule.start <= end + NEAR:
                end = max(end, rule.end)
                continue
            if start is not None:
                merged.append(Rule(at, start, end))
            start, end = rule.start, rule.end
        if start is not None:
            merged.append(Rule(at, start, end))
    return merged


def _connected(first: int, across: list[Rule], down: list[Rule]) -> tuple[set[int], set[int]]:
    """Return the rules that hang together with the horizontal one `first`."""
    rows, columns = {first}, set[int]()
    new_rows = [first]
    while new_rows:
        row = across[new_rows.pop()]
        for number, column in enumerate(down):
            if number in columns or not _meet(row, column):
                continue
            columns.add(number)
            more = [n for n, other in enumerate(across) if n not in rows and _meet(other, column)]
            rows.update(more)
            new_rows += more
    return rows, columns


def _meet(row: Rule, column: Rule) -> bool:
    return (
        row.start - NEAR <= column.at <= row.end + NEAR
        and column.start - NEAR <= row.at <= column.end + NEAR
    )


def drawn_table(grid: Grid, words: Sequence[Word]) -> Table | None:
    """Return the words in the cells of a grid; None if most are empty, as in a chart."""
    tops = _places([rule.at for rule in grid.across])
    columns = _places([rule.at for rule in grid.down])
    rows: list[list[str]] = []
    first: list[Word] = []
    for top, bottom in pairwise(tops):
        middle = (top + bottom) / 2
        # A cell that spans columns has no rule between them in its row.
        edges = [
            at
            for at in columns
            if any(
                abs(rule.at - at) <= NEAR and rule.start - NEAR < middle < rule.end + NEAR
                for rule in grid.down
            )
        ]
        inside = [word for word in words if bottom < (word.bottom + word.top) / 2 <= top]
        first = first or inside
        row = [""] * (len(columns) - 1)
        for left, right in pairwise(edges):
            cell = [word for word in inside if left < (word.left + word.right) / 2 <= right]
            row[columns.index(left)] = _text(cell)
        rows.append(row)
    rows = [row for row in rows if any(row)]
    filled = sum(bool(cell) for row in rows for cell in row)
    cells = sum(map(len, rows))
    if len(rows) < 2 or filled < MIN_FILLED * cells:
        return None
    return Table(rows, columns, all(word.bold for word in first))


def _places(values: list[float]) -> list[float]:
    """Return the distinct ones of sorted `values`."""
    places: list[float] = []
    for value in values:
        if not places or abs(value - places[-1]) > NEAR:
            places.append(value)
    return places


def _text(words: list[Word]) -> str:
    """Return the words of a cell, line by line."""
    lines: list[list[Word]] = []
    for word in sorted(words, key=lambda word: -word.bottom):
        if lines and lines[-1][0].bottom - word.bottom < 0.5 * word.size:
            lines[-1].append(word)
        else:
            lines.append([word])
    ordered = (sorted(line, key=lambda word: word.left) for line in lines)
    return " ".join(word.text for line in ordered for word in line)
