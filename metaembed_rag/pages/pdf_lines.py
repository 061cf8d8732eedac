"""Where the lines of a PDF's text layer stand on the picture of the page, by pypdfium2."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from itertools import islice

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from metaembed_rag.pages.lines import Box

_MAX_CHARACTERS = 100_000
"""Of a page; one with more has no lines that could be shown."""
_MAX_RECTANGLES = 1_000
_LINE = re.compile("[^\r\n\f\x02\xad\ufffe]+")
"""PDFium writes a hyphen at the end of a line as U+0002 or U+FFFE, and drops the line's end."""
_STEPS = 2**20
"""Of the picture's width and height: PDFium gives places on it as whole numbers."""


def text_lines(page: pdfium.PdfPage) -> Iterator[tuple[str, Box]]:
    """What stands in each line of the text layer, as PDFium gives it, and where.

    Turned pages and crop boxes are those of the picture, since PDFium places both.

    Args:
        page: Opened, as it is drawn; the caller holds PDFium's lock.
    """
    textpage = page.get_textpage()
    try:
        count = raw.FPDFText_CountChars(textpage)
        if count > _MAX_CHARACTERS:
            return
        codes = (raw.FPDFText_GetUnicode(textpage, place) for place in range(count))
        text = "".join(map(_character, codes))  # one for each of PDFium's, unlike its own text
        for line in _LINE.finditer(text):
            if line[0].strip() and (box := _box(page, textpage, *line.span())) is not None:
                yield line[0], box
    finally:
        textpage.close()


def _character(code: int) -> str:
    """Half a character counts as none."""
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\0"


def _box(page: pdfium.PdfPage, textpage: pdfium.PdfTextPage, start: int, end: int) -> Box | None:
    """The smallest box around some characters, as fractions; None where they have none."""
    count = raw.FPDFText_CountRects(textpage, start, end - start)
    corners = [
        corner
        for number in islice(range(count), _MAX_RECTANGLES)
        for corner in _corners(textpage, number)
    ]
    placed = [_on_picture(page, *corner) for corner in corners]
    if not placed:
        return None
    xs, ys = zip(*placed, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _corners(textpage: pdfium.PdfTextPage, number: int) -> Iterator[tuple[float, float]]:
    """Two corners of a rectangle of those that were counted last, in points."""
    left, top, right, bottom = (ctypes.c_double() for _ in range(4))
    if raw.FPDFText_GetRect(textpage, number, left, top, right, bottom):
        yield left.value, top.value
        yield right.value, bottom.value


def _on_picture(page: pdfium.PdfPage, x: float, y: float) -> tuple[float, float]:
    """A place in points as a place on the picture."""
    across, down = ctypes.c_int(), ctypes.c_int()
    raw.FPDF_PageToDevice(page, 0, 0, _STEPS, _STEPS, 0, x, y, across, down)
    return across.value / _STEPS, down.value / _STEPS
