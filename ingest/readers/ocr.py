"""Scanned pages become text, by Tesseract where it is installed."""

import functools
from typing import Any

from ingest.errors import DocumentError

DPI = 300  # what Tesseract is trained for
MAX_PIXELS = 40_000_000
"""A larger page is rendered coarser: a poster needs no 300 dots an inch."""
PAGE_TIMEOUT_S = 60
MISSING = "Install Tesseract to recognise them: apt-get install tesseract-ocr"


@functools.cache
def is_installed() -> bool:
    """Return whether the `tesseract` program can be run."""
    import pytesseract

    try:
        pytesseract.get_tesseract_version()
    except (pytesseract.TesseractNotFoundError, SystemExit):
        return False
    return True


def recognise(page: Any, languages: str) -> str:
    """Return the text of a pdfium page, paragraphs parted by blank lines.

    Raises:
        DocumentError: Tesseract failed, for lack of a language, say.
    """
    import pytesseract

    width, height = page.get_size()
    scale = min(DPI / 72, (MAX_PIXELS / max(width * height, 1)) ** 0.5)
    picture = page.render(scale=scale, grayscale=True).to_pil()
    try:
        text = pytesseract.image_to_string(picture, lang=languages, timeout=PAGE_TIMEOUT_S)
    except pytesseract.TesseractError as error:
        raise DocumentError(f"OCR failed: {error.message:.200}") from None
    except RuntimeError:  # how pytesseract says that the time is over
        raise DocumentError(f"OCR of a page took longer than {PAGE_TIMEOUT_S} s.") from None
    return str(text).replace("\f", "").strip()
