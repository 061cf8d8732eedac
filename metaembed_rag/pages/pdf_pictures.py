"""How much of a page of a PDF is covered by pictures, as that of a scan is."""

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

_Box = tuple[float, float, float, float]
"""Left, bottom, right and top in points."""


def picture_share(page: pdfium.PdfPage) -> float:
    """The share of the page's area below its pictures, in [0, 1]; strips and tiles are added up.

    Pictures inside of form XObjects count where they are drawn.
    """
    left, bottom, right, top = page.get_bbox()
    width, height = right - left, top - bottom
    if width <= 0 or height <= 0:
        return 0.0
    covered = np.zeros((_CELLS, _CELLS), dtype=bool)  # (rows, columns)
    for box in islice(_pictures(page), _MAX_OBJECTS):
        x0, x1 = (_cell((x - left) / width) for x in (box[0], box[2]))
        y0, y1 = (_cell((y - bottom) / height) for y in (box[1], box[3]))
        covered[y0:y1, x0:x1] = True
    return float(covered.mean())


def _cell(share: float) -> int:
    return round(min(1.0, max(0.0, share)) * _CELLS)


def _pictures(page: pdfium.PdfPage) -> Iterator[_Box]:
    """The boxes of all pictures, in the coordinates of the page."""
    count = min(raw.FPDFPage_CountObjects(page), _MAX_OBJECTS)
    found = (raw.FPDFPage_GetObject(page, index) for index in range(count))
    return _boxes(found, [])


def _boxes(objects: Iterator[Any], placed: list[pdfium.PdfMatrix]) -> Iterator[_Box]:
    for found in objects:
        kind = raw.FPDFPageObj_GetType(found)
        if kind == raw.FPDF_PAGEOBJ_IMAGE:
            yield _box(found, placed)
        elif kind == raw.FPDF_PAGEOBJ_FORM and len(placed) < _MAX_DEPTH:
            matrix = raw.FS_MATRIX()
            if raw.FPDFPageObj_GetMatrix(found, matrix):
                count = min(raw.FPDFFormObj_CountObjects(found), _MAX_OBJECTS)
                inner = (raw.FPDFFormObj_GetObject(found, index) for index in range(count))
                yield from _boxes(inner, [pdfium.PdfMatrix.from_raw(matrix), *placed])


def _box(found: Any, placed: list[pdfium.PdfMatrix]) -> _Box:
    """The box of one picture, through the matrices of the forms around it, innermost first."""
    sides = [raw.c_float() for _ in range(4)]
    if not raw.FPDFPageObj_GetBounds(found, *sides):
        return (0.0, 0.0, 0.0, 0.0)
    left, bottom, right, top = (side.value for side in sides)
    for matrix in placed:
        left, bottom, right, top = matrix.on_rect(left, bottom, right, top)
    return left, bottom, right, top
