"""The order in which pieces of text on a picture are read: rows, and columns one by one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from statistics import median


@dataclass(frozen=True)
class Line:
    """A piece of text in one line, with its box in pixels (y grows downwards).

    Attributes:
        text: What was read.
        left: Its box, and so are ``top``, ``right`` and ``bottom``.
        score: The engine's confidence in [0, 1].
    """

    text: str
    left: float
    top: float
    right: float
    bottom: float
    score: float = 1.0

    @property
    def is_tall(self) -> bool:
        """Whether it runs from top to bottom or from bottom to top."""
        return self.bottom - self.top >= 1.5 * (self.right - self.left) and len(self.text) > 2


def reading_order(lines: list[Line]) -> list[list[Line]]:
    """Pieces -> rows from top to bottom, each from left to right; text columns one by one.

    A recursive X-Y cut: side by side columns of running text are read apart, otherwise the
    region is cut at its largest horizontal gap. Cells of tables and labels of charts are too
    narrow to count as columns, so their rows stay rows.
    """
    rows: list[list[Line]] = []
    regions = [lines]
    while regions:  # no recursion: a hostile picture could make it too deep
        region = regions.pop()
        columns = _columns(region)
        if columns is not None:
            regions += reversed(columns)
            continue
        at = _largest_gap(region)
        if at is None:
            rows += _rows(region)
        else:
            regions.append([line for line in region if line.top >= at])
            regions.append([line for line in region if line.top < at])
    return rows


_COLUMN_LINES = 4


def _columns(lines: list[Line]) -> tuple[list[Line], list[Line]] | None:
    """The two sides of a vertical gap that no piece crosses, when both look like running text."""
    if len(lines) < 2 * _COLUMN_LINES:
        return None
    ordered = sorted(lines, key=lambda line: line.left)
    for cut, reach in enumerate(accumulate((line.right for line in ordered[:-1]), max), start=1):
        sides = ordered[:cut], ordered[cut:]
        if ordered[cut].left > reach and all(_is_running_text(side) for side in sides):
            return sides
    return None


def _is_running_text(lines: list[Line]) -> bool:
    if len(lines) < _COLUMN_LINES:
        return False
    width = max(line.right for line in lines) - min(line.left for line in lines)
    typical = median(line.right - line.left for line in lines)
    height = median(line.bottom - line.top for line in lines)
    return typical >= 0.6 * width and typical >= 5 * height


def _largest_gap(lines: list[Line]) -> float | None:
    """Top of the piece below the largest horizontal gap that no piece crosses, or None."""
    ordered = sorted(lines, key=lambda line: line.top)
    reaches = accumulate((line.bottom for line in ordered), max)
    gaps = [(line.top - reach, line.top) for reach, line in zip(reaches, ordered[1:], strict=False)]
    best, at = max(gaps, key=itemgetter(0), default=(0.0, None))
    return at if best > 0 else None


def _rows(lines: list[Line]) -> list[list[Line]]:
    """Pieces whose middles are within half a line's height of each other share a row."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.top + line.bottom):
        middle = (line.top + line.bottom) / 2
        first = rows[-1][0] if rows else None
        if first is not None and abs(middle - (first.top + first.bottom) / 2) < 0.5 * min(
            line.bottom - line.top, first.bottom - first.top
        ):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: line.left) for row in rows]
