"""Pages of a PDF whose text lies on its side or upside down, made upright."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import closing

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from metaembed_rag.pages.pdf_pictures import picture_share

_LOOKED_AT = 500
"""Characters of a page whose direction is asked for, evenly spread."""
_FEWEST = 20
_FEWEST_ON_SCAN = 300
"""Fewer beside a scan may be a stamp along its edge."""
_SCANNED_SHARE = 0.5
_MOST_PART = 0.8
"""Of the letters, that run in one direction: the rest are labels of axes."""
_QUARTER, _SLANT = 90, 5
_EVERYWHERE = raw.FS_RECTF(-1e6, 1e6, 1e6, -1e6)


def straighten(page: pdfium.PdfPage) -> bool:
    """Turn a page by quarters so that most of its letters stand upright.

    What is drawn is turned, and not only the page's own rotation changed: PDFium loses the ends of
    lines that run from top to bottom.

    Args:
        page: Opened; the caller holds PDFium's lock.

    Returns:
        Whether it was changed, so that it has to be opened again.
    """
    turn = _turn(page)
    if turn is None or (turn == 0 and page.get_rotation() == 0):
        return False
    left, bottom, right, top = page.get_bbox()
    matrix, size = _upright(turn, left, bottom, right, top)
    if turn and not raw.FPDFPage_TransFormWithClip(page, raw.FS_MATRIX(*matrix), _EVERYWHERE):
        return False
    page.set_rotation(0)
    if turn:
        raw.FPDFPage_TransformAnnots(page, *matrix)
        page.set_mediabox(0, 0, *size)
        page.set_cropbox(0, 0, *size)
    return True


def _upright(
    turn: int, left: float, bottom: float, right: float, top: float
) -> tuple[tuple[float, float, float, float, float, float], tuple[float, float]]:
    """The matrix that turns a box with the clock, and brings it to the origin; its size then."""
    width, height = right - left, top - bottom
    if turn == 90:
        return (0, -1, 1, 0, -bottom, right), (height, width)
    if turn == 180:
        return (-1, 0, 0, -1, right, top), (width, height)
    return (0, 1, -1, 0, top, -left), (height, width)


def _turn(page: pdfium.PdfPage) -> int | None:
    """Degrees with the clock by which the page's content is turned upright.

    None where that is not clear, or there are few letters.
    """
    with closing(page.get_textpage()) as textpage:
        count = raw.FPDFText_CountChars(textpage)
        places = range(0, count, max(1, count // _LOOKED_AT))
        found = Counter(
            _direction(textpage, place) for place in places if _is_seen(textpage, place)
        )
    letters = found.total() * max(1, count // _LOOKED_AT)
    (direction, most), *_ = found.most_common(1) or [(0, 0)]
    if letters < _FEWEST or direction is None or most < _MOST_PART * found.total():
        return None
    turn = (360 - direction) % 360
    is_upright = turn == page.get_rotation()
    if letters < _FEWEST_ON_SCAN and not is_upright and picture_share(page) >= _SCANNED_SHARE:
        return None
    return turn


def _direction(textpage: pdfium.PdfTextPage, place: int) -> int | None:
    """Degrees of a character's line, a multiple of 90; None for one that is slanted."""
    degrees = math.degrees(raw.FPDFText_GetCharAngle(textpage, place))
    nearest = round(degrees / _QUARTER) * _QUARTER
    return nearest % 360 if abs(degrees - nearest) <= _SLANT else None


def _is_seen(textpage: pdfium.PdfTextPage, place: int) -> bool:
    return bool(raw.FPDFText_GetUnicode(textpage, place) > ord(" "))
