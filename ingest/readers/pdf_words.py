"""The words of a PDF page with their places, taken from pdfium with few calls a word."""

import ctypes
import re
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
    turned: list[str]
    """Words that stand on their side, such as a stamp along the margin."""
    width: float
    height: float


def words_of(page: Any) -> Words:
    """Return the words of a pdfium page in the order in which the file draws them."""
    import pypdfium2.raw as raw

    textpage = page.get_textpage()
    try:
        text = _text(raw, textpage)
        turn = page.get_rotation()
        width, height = page.get_size()  # as shown, so after the turn
        upright: list[Word] = []
        turned: list[str] = []
        box, matrix = raw.FS_RECTF(), raw.FS_MATRIX()
        font = ctypes.create_string_buffer(64)
        flags = ctypes.c_int()
        seen: tuple[float, int] = (0.0, 0)  # height and length of the last word's box and font
        bold = False
        end = 0
        for found in WORD.finditer(text):
            first, last = found.start(), found.end() - 1
            raw.FPDFText_GetLooseCharBox(textpage, first, box)
            left, right, bottom, top = box.left, box.right, box.bottom, box.top
            if last > first:
                raw.FPDFText_GetLooseCharBox(textpage, last, box)
                left, right = min(left, box.left), max(right, box.right)
                bottom, top = min(bottom, box.bottom), max(top, box.top)
            raw.FPDFText_GetMatrix(textpage, first, matrix)
            if abs(matrix.b) > abs(matrix.a) and turn in (0, 180):
                turned.append(found.group())
                continue
            size = raw.FPDFText_GetFontSize(textpage, first)
            size = round(size * (matrix.c**2 + matrix.d**2) ** 0.5, 1) or round(top - bottom, 1)
            looks = (size, round(top - bottom, 1))
            if looks != seen or end == 0:
                raw.FPDFText_GetFontInfo(textpage, first, font, 64, flags)
                bold = b"bold" in font.value.lower() or b"black" in font.value.lower()
                seen = looks
            word = Word(found.group(), left, right, bottom, top, size, bold, text[end:first])
            upright.append(_turned(word, turn, width, height) if turn else word)
            end = last + 1
        return Words(upright, turned, width, height)
    finally:
        textpage.close()


def _text(raw: Any, textpage: Any) -> str:
    """Return the page's text, one character for each that pdfium counts."""
    count = textpage.count_chars()
    buffer = (ctypes.c_ushort * (count + 1))()
    written = raw.FPDFText_GetText(textpage, 0, count, buffer)
    text = bytes(buffer)[: 2 * (written - 1)].decode("utf-16-le", "surrogatepass")
    if len(text) == count:
        return text
    # It leaves some out, or there are characters of two units: ask for each.
    units = [raw.FPDFText_GetUnicode(textpage, index) for index in range(count)]
    return "".join(chr(unit) if 0 < unit < 0x110000 else " " for unit in units)


def _turned(word: Word, turn: int, width: float, height: float) -> Word:
    """Return where a word is seen on a page that is shown turned clockwise by `turn` degrees."""
    left, right, bottom, top = word.left, word.right, word.bottom, word.top
    if turn == 90:
        left, right, bottom, top = bottom, top, height - right, height - left
    elif turn == 180:
        left, right, bottom, top = width - right, width - left, height - top, height - bottom
    elif turn == 270:
        left, right, bottom, top = width - top, width - bottom, left, right
    return word._replace(left=left, right=right, bottom=bottom, top=top)
