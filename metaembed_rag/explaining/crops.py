"""A picture as parts that can be scored alone: an overlapping grid, each part cut again."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from metaembed_rag.pages.lines import Box, TextLine

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
COARSE = (2, 3)
"""Columns and rows of the first cut."""
FINE = (2, 2)
_OVERLAP = 0.15
"""Of a part's width and height, at each side: what lies on a cut is whole in one of two parts."""
_SMALLEST = 56
"""Pixels of the shorter side below which a part is not cut again."""


def grid(box: Box, columns: int, rows: int) -> list[Box]:
    """The parts of a box, row by row, each a little larger than its cell."""
    left, top, right, bottom = box
    width, height = (right - left) / columns, (bottom - top) / rows
    return [
        (
            max(left, left + width * (column - _OVERLAP)),
            max(top, top + height * (row - _OVERLAP)),
            min(right, left + width * (column + 1 + _OVERLAP)),
            min(bottom, top + height * (row + 1 + _OVERLAP)),
        )
        for row in range(rows)
        for column in range(columns)
    ]


def crop(image: Image.Image, box: Box) -> Image.Image:
    """The part of a picture in a box."""
    left, top, right, bottom = box
    width, height = image.size
    return image.crop(
        (
            int(left * width),
            int(top * height),
            max(int(left * width) + 1, round(right * width)),
            max(int(top * height) + 1, round(bottom * height)),
        )
    )


def can_be_cut(image: Image.Image, box: Box) -> bool:
    """Whether a part is large enough to be cut again."""
    part = crop(image, box)
    return min(part.size) >= _SMALLEST


def overlap(one: Box, other: Box) -> float:
    """The share of the smaller of two boxes that lies in the other."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    least = min(_area(one), _area(other))
    return width * height / least if width > 0 and height > 0 and least > 0 else 0.0


def text_in(lines: Sequence[TextLine], box: Box) -> tuple[int, int]:
    """The longest stretch of a text whose lines have their middles in a box; (0, 0) for none."""
    best = (0, 0)
    start: int | None = None
    for line in lines:
        left, top, right, bottom = line.box
        x, y = (left + right) / 2, (top + bottom) / 2
        if not (box[0] <= x <= box[2] and box[1] <= y <= box[3]):
            start = None
            continue
        start = line.start if start is None else start
        if line.end - start > best[1] - best[0]:
            best = (start, line.end)
    return best


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
