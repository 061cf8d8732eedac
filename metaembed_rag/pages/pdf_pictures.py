"""How much of a page of a PDF is drawn and not written: pictures, and letters as outlines."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw

from metaembed_rag.pages.figures import MOST
from metaembed_rag.pages.lines import Box
from metaembed_rag.pages.pdf_lines import Place, on_picture

_CELLS = 64  # a side of the page: fine enough for half of it, and overlaps count once
_MAX_OBJECTS = 20_000
_MAX_DEPTH = 6
_LETTER_SEGMENTS = 8
"""Of an outline: an "o" has eight curves; a box or a line of a table has fewer."""

_MAX_TILES = 1_000
"""Pictures of a page that are looked at for figures."""
_LEAST_SIDE = 60.0
"""Points (2 cm) of a figure's shorter side: below are marks, icons and rules."""
_LEAST_AREA, _MOST_AREA = 0.025, 0.85
"""Of the page's area. Above is a background, or a scan with its text below it."""
_LEAST_PIXELS = 8
_NEAR = 0.002
"""Of a page's side, between two tiles of one picture."""

_Box = tuple[float, float, float, float]
"""Left, bottom, right and top in points."""
_Placed = tuple[Any, list[pdfium.PdfMatrix]]
"""A picture or path, and the matrices of the form XObjects around it, innermost first."""


def picture_share(page: pdfium.PdfPage) -> float:
    """The share of the page's area below its pictures, in [0, 1]; strips and tiles are added up.

    Pictures inside of form XObjects count where they are drawn.
    """
    left, bottom, right, top = page.get_bbox()
    width, height = right - left, top - bottom
    if width <= 0 or height <= 0:
        return 0.0
    covered = np.zeros((_CELLS, _CELLS), dtype=bool)  # (rows, columns)
    for found, placed in _objects(page, raw.FPDF_PAGEOBJ_IMAGE):
        box = _box(found, placed)
        x0, x1 = (_cell((x - left) / width) for x in (box[0], box[2]))
        y0, y1 = (_cell((y - bottom) / height) for y in (box[1], box[3]))
        covered[y0:y1, x0:x1] = True
    return float(covered.mean())


def figure_boxes(page: pdfium.PdfPage) -> list[Box]:
    """Where the page's figures stand on its picture, the largest first, at most `figures.MOST`.

    Pictures that overlap or touch, as tiles and strips do, are one figure. Left out are small ones
    (marks, icons, rules), those with hardly a pixel, and what covers the whole page: a background,
    or a scan whose text is below it.

    Args:
        page: Opened, as it is drawn; the caller holds PDFium's lock.
    """
    place = on_picture(page)
    size = page.get_size()
    found = islice(_objects(page, raw.FPDF_PAGEOBJ_IMAGE), _MAX_TILES)
    boxes = [
        box
        for one, placed in found
        if not _is_plain(one) and (box := _shown_box(place, _box(one, placed))) is not None
    ]
    beside = [box for box in boxes if _area(box) <= _MOST_AREA]  # else a background joins all
    figures = [box for box in _joined(beside) if _is_figure(box, size)]
    return sorted(figures, key=_area, reverse=True)[:MOST]


def _shown_box(place: Place, sides: _Box) -> Box | None:
    """A box in points as one on the page's picture; None for one outside of it."""
    left, bottom, right, top = sides
    (a, b), (c, d) = place(left, top), place(right, bottom)
    x0, x1, y0, y1 = (min(1.0, max(0.0, value)) for value in (*sorted((a, c)), *sorted((b, d))))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _is_plain(found: Any) -> bool:
    """Whether a picture has too few pixels for a letter: a shade that was stretched."""
    width, height = ctypes.c_uint(), ctypes.c_uint()
    known = raw.FPDFImageObj_GetImagePixelSize(found, width, height)
    return bool(known) and min(width.value, height.value) < _LEAST_PIXELS


def _joined(boxes: list[Box]) -> list[Box]:
    """Boxes, those that overlap or touch as one around them."""
    joined: list[Box] = []
    for box in boxes:
        while touching := [other for other in joined if _touch(box, other)]:
            joined = [other for other in joined if other not in touching]
            lefts, tops, rights, bottoms = zip(box, *touching, strict=True)
            box = (min(lefts), min(tops), max(rights), max(bottoms))
        joined.append(box)
    return joined


def _touch(one: Box, other: Box) -> bool:
    return all(
        one[side] <= other[side + 2] + _NEAR and other[side] <= one[side + 2] + _NEAR
        for side in (0, 1)
    )


def _is_figure(box: Box, size: tuple[float, float]) -> bool:
    sides = ((box[2] - box[0]) * size[0], (box[3] - box[1]) * size[1])
    return min(sides) >= _LEAST_SIDE and _LEAST_AREA <= _area(box) <= _MOST_AREA


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def outline_count(page: pdfium.PdfPage) -> int:
    """How many shapes of the page may be letters that were turned into outlines."""
    return sum(
        raw.FPDFPath_CountSegments(found) >= _LETTER_SEGMENTS
        for found, _ in _objects(page, raw.FPDF_PAGEOBJ_PATH)
    )


def _cell(share: float) -> int:
    return round(min(1.0, max(0.0, share)) * _CELLS)


def _objects(page: pdfium.PdfPage, kind: int) -> Iterator[_Placed]:
    """All objects of a kind, those inside of form XObjects too."""
    count = min(raw.FPDFPage_CountObjects(page), _MAX_OBJECTS)
    found = (raw.FPDFPage_GetObject(page, index) for index in range(count))
    return islice(_inside(found, kind, []), _MAX_OBJECTS)


def _inside(objects: Iterator[Any], kind: int, placed: list[pdfium.PdfMatrix]) -> Iterator[_Placed]:
    for found in objects:
        own = raw.FPDFPageObj_GetType(found)
        if own == kind:
            yield found, placed
        elif own == raw.FPDF_PAGEOBJ_FORM and len(placed) < _MAX_DEPTH:
            matrix = raw.FS_MATRIX()
            if raw.FPDFPageObj_GetMatrix(found, matrix):
                count = min(raw.FPDFFormObj_CountObjects(found), _MAX_OBJECTS)
                inner = (raw.FPDFFormObj_GetObject(found, index) for index in range(count))
                yield from _inside(inner, kind, [pdfium.PdfMatrix.from_raw(matrix), *placed])


def _box(found: Any, placed: list[pdfium.PdfMatrix]) -> _Box:
    """The box of one picture on the page."""
    sides = [raw.c_float() for _ in range(4)]
    if not raw.FPDFPageObj_GetBounds(found, *sides):
        return (0.0, 0.0, 0.0, 0.0)
    left, bottom, right, top = (side.value for side in sides)
    for matrix in placed:
        left, bottom, right, top = matrix.on_rect(left, bottom, right, top)
    return left, bottom, right, top
