"""The words of a PDF page with their places, taken from pdfium with few calls a word."""

import ctypes
import re
from collections import Counter
from typing import Any, NamedTuple

WORD = re.compile(r"[^\s]+")
HYPHENS = "\x02\ufffe"  # what pdfium gives for a hyphen that parts a word at a line's end


class Word(NamedTuple):
    """A word on a page. Lengths are points; x grows to the right, y upwards, as seen upright."""

    text: str
    left: float
    right: float
    bottom: float
    top: float
    size: float
    """Of the font, in points."""
    bold: bool
    before: str
    """The white space before it: ` `, or with a newline in it."""


class Words(NamedTuple):
    """What stands on a page."""

    upright: list[Word]
    """In the direction of most of the page's text, which is made level first."""
    turned: list[str]
    """In another direction, such as a stamp along the margin."""
    quarter: int
    """Turns of 90 degrees, anticlockwise, that the page's text is drawn at: mostly 0."""
    height: float


def words_of(page: Any) -> Words:
    """Return the words of a pdfium page in the order in which the file draws them."""
    import pypdfium2.raw as raw

    textpage = page.get_textpage()
    handle = textpage.raw
    try:
        text = _text(raw, handle, textpage.count_chars())
        words: list[tuple[int, Word]] = []
        box, matrix = raw.FS_RECTF(), raw.FS_MATRIX()
        font = ctypes.create_string_buffer(64)
        flags = ctypes.c_int()
        end, last_run, bold = 0, 0, False
        for found in WORD.finditer(text):
            first, last = found.start(), found.end() - 1
            raw.FPDFText_GetLooseCharBox(handle, first, box)
            left, right, bottom, top = box.left, box.right, box.bottom, box.top
            if last > first:
                raw.FPDFText_GetLooseCharBox(handle, last, box)
                left, right = min(left, box.left), max(right, box.right)
                bottom, top = min(bottom, box.bottom), max(top, box.top)
            raw.FPDFText_GetMatrix(handle, first, matrix)
            size = raw.FPDFText_GetFontSize(handle, first)
            size = round(size * (matrix.c**2 + matrix.d**2) ** 0.5, 1) or round(top - bottom, 1)
            drawn = raw.FPDFText_GetTextObject(handle, first)
            run = ctypes.addressof(drawn.contents) if drawn else -1
            if run != last_run:
                raw.FPDFText_GetFontInfo(handle, first, font, 64, flags)
                name = font.value.lower()
                bold, last_run = b"bold" in name or b"black" in name, run
            word = Word(found.group(), left, right, bottom, top, size, bold, text[end:first])
            words.append((_quarter(matrix.a, matrix.b), word))
            end = last + 1
    finally:
        textpage.close()
    width, height = page.get_size()  # as shown
    if page.get_rotation() in (90, 270):
        width, height = height, width
    quarter = Counter(quarter for quarter, _ in words).most_common(1)[0][0] if words else 0
    return Words(
        [_levelled(word, quarter, width, height) for its, word in words if its == quarter],
        [word.text for its, word in words if its != quarter],
        quarter,
        width if quarter % 2 else height,
    )


def _quarter(a: float, b: float) -> int:
    """Return the quarter turns, anticlockwise, of text whose matrix begins with `a`, `b`."""
    if abs(a) >= abs(b):
        return 0 if a >= 0 else 2
    return 1 if b > 0 else 3


def _text(raw: Any, handle: Any, count: int) -> str:
    """Return the page's text, one character for each that pdfium counts."""
    buffer = (ctypes.c_ushort * (count + 1))()
    written = raw.FPDFText_GetText(handle, 0, count, buffer)
    text = bytes(buffer)[: 2 * (written - 1)].decode("utf-16-le", "surrogatepass")
    if len(text) == count:
        return text
    # It leaves some out, or there are characters of two units: ask for each.
    units = [raw.FPDFText_GetUnicode(handle, index) for index in range(count)]
    return "".join(chr(unit) if 0 < unit < 0x110000 else " " for unit in units)


def _levelled(word: Word, quarter: int, width: float, height: float) -> Word:
    """Return a word where it stands once the page is turned back by `quarter` turns."""
    left, right, bottom, top = word.left, word.right, word.bottom, word.top
    if quarter == 0:
        return word
    if quarter == 1:
        left, right, bottom, top = bottom, top, width - right, width - left
    elif quarter == 2:
        left, right, bottom, top = width - right, width - left, height - top, height - bottom
    else:
        left, right, bottom, top = height - top, height - bottom, left, right
    return word._replace(left=left, right=right, bottom=bottom, top=top)
