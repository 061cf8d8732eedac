"""Where the lines of a PDF's text layer stand on the picture of the page, by pypdfium2."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from typing import Any

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
_FAR = 1000.0
"""Points from the page's origin at which its way to the picture is asked for."""


Place = Callable[[float, float], tuple[float, float]]
"""Gives a place on a page, in points, as fractions of its picture from the top left."""


def text_lines(page: pdfium.PdfPage, textpage: pdfium.PdfTextPage) -> Iterator[tuple[str, Box]]:
    """What stands in each line of the text layer, as PDFium gives it, and where.

    Turned pages and crop boxes are those of the picture, since PDFium places both.

    Args:
        page: Opened, as it is drawn; the caller holds PDFium's lock.
        textpage: Its text layer.
    """
    layer, place = textpage.raw, on_picture(page)
    count = raw.FPDFText_CountChars(layer)
    if count > _MAX_CHARACTERS:
        return
    for line in _LINE.finditer(_characters(layer, count)):
        if line[0].strip() and (box := _box(layer, place, *line.span())) is not None:
            yield line[0], box


def _characters(layer: Any, count: int) -> str:
    """One character for each of PDFium's, unlike its own text, which may leave some out."""
    units = (ctypes.c_ushort * (count + 1))()
    if raw.FPDFText_GetText(layer, 0, count, units) == count + 1:  # with the 0 at its end
        text = bytes(units)[:-2].decode("utf-16-le", errors="replace")
        if len(text) == count:
            return text
    codes = (raw.FPDFText_GetUnicode(layer, place) for place in range(count))
    return "".join(map(_character, codes))


def _character(code: int) -> str:
    """Half a character counts as none."""
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\0"


def _box(layer: Any, place: Place, start: int, end: int) -> Box | None:
    """The smallest box around some characters, as fractions; None where they have none."""
    count = raw.FPDFText_CountRects(layer, start, end - start)
    found = [box for n in range(min(count, _MAX_RECTANGLES)) if (box := _rectangle(layer, n))]
    if not found:
        return None
    lefts, tops, rights, bottoms = zip(*found, strict=True)
    # Turned by quarters at most, the corners of the whole are those of its parts.
    one, other = place(min(lefts), max(tops)), place(max(rights), min(bottoms))
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(one, other, strict=True))
    return left, top, right, bottom


def _rectangle(layer: Any, number: int) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom of one of the rectangles that were counted last, in points."""
    sides = [ctypes.c_double() for _ in range(4)]
    if not raw.FPDFText_GetRect(layer, number, *sides):
        return None
    left, top, right, bottom = (side.value for side in sides)
    return left, top, right, bottom


def on_picture(page: pdfium.PdfPage) -> Place:
    """Gives a place in points as a place on the picture: PDFium's own way there is a linear one."""

    def asked(x: float, y: float) -> tuple[float, float]:
        across, down = ctypes.c_int(), ctypes.c_int()
        raw.FPDF_PageToDevice(page, 0, 0, _STEPS, _STEPS, 0, x, y, across, down)
        return across.value / _STEPS, down.value / _STEPS

    (left, top), right, up = asked(0, 0), asked(_FAR, 0), asked(0, _FAR)
    (a, b), (c, d) = (((one[0] - left) / _FAR, (one[1] - top) / _FAR) for one in (right, up))
    return lambda x, y: (left + a * x + c * y, top + b * x + d * y)
