"""How much of a page of a PDF is drawn and not written: pictures, and letters as outlines."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw

_CELLS = 64  # a side of the page: fine enough for half of it, and overlaps count once
_MAX_OBJECTS = 20_000
_MAX_DEPTH = 6
_LETTER_SEGMENTS = 8
"""Of an outline: an "o" has eight curves; a box or a line of a table has fewer."""

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
