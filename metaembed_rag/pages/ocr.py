"""Text of a picture, for pages that have none: rapidocr, offline, its models in its wheel."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from operator import itemgetter
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Transpose

from metaembed_rag.errors import require
from metaembed_rag.pages.pictures import to_rgb

MAX_SIDE = 2_000
"""Larger pictures are made smaller first: more pixels cost time and find no more text."""

_SETTINGS = {
    "Global.log_level": "critical",
    # CPU seconds on one thread: rapidocr's own settings took 3.5 a page (634 x 896 pixels) and 1.6
    # a chart (448 pixels) and found 96.5 % of the pages' words; these 2.3 and 0.7 and 97.8 %.
    # Most of it is finding the lines without enlarging the picture first. Two threads took twice
    # the CPU seconds and, on a busy machine, more time.
    "Det.limit_type": "max",
    "Det.limit_side_len": 736,
    "Rec.rec_batch_num": 1,
    # Off: it turned whole lines of upright pages upside down (95.5 % of the words instead of 97.8).
    "Global.use_cls": False,
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}

_LOCK = threading.Lock()  # an engine keeps the settings of a call in itself


@dataclass(frozen=True)
class Line:
    """A piece of text in one line, with its box in pixels (y grows downwards)."""

    text: str
    left: float
    top: float
    right: float
    bottom: float


def read_text(image: Image.Image) -> str:
    """Read the text of a picture, in reading order, one line of the picture per line.

    The first call of a process loads the models (1.4 s); calls from several threads wait
    for each other. A page of 634 x 896 pixels takes about 2.3 s on one core, a chart 0.7 s.

    Args:
        image: Of any size and mode; transparent parts are read as white.

    Returns:
        The text; ``""`` when none is found.

    Raises:
        MissingExtraError: rapidocr is not installed; the message is the ``pip install`` line.
    """
    if max(image.size) > MAX_SIDE:
        image = image.copy()
        image.thumbnail((MAX_SIDE, MAX_SIDE))
    image = to_rgb(image)
    with _LOCK:
        found = _engine()(_pixels(image), use_det=True)
        if found.txts is None:
            return ""
        lines = [
            _upright(image, _line(text, box), score)
            for text, box, score in zip(found.txts, found.boxes, found.scores, strict=True)
        ]
    return "\n".join(" ".join(line.text for line in row) for row in reading_order(lines))


@cache
def _engine() -> Any:
    """The engine, made once per process."""
    require("onnxruntime")
    rapidocr = require("rapidocr")
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    return rapidocr.RapidOCR(params=_SETTINGS)


def _pixels(image: Image.Image) -> np.ndarray:
    """(height, width, 3) uint8, in the order blue, green, red."""
    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])


def _upright(image: Image.Image, line: Line, score: float) -> Line:
    """A tall line read again from bottom to top, as the labels of vertical axes are written.

    rapidocr turns tall boxes the other way, and so reads these labels upside down.
    """
    width, height = line.right - line.left, line.bottom - line.top
    if height < 1.5 * width or len(line.text) < 3:
        return line
    box = (round(line.left), round(line.top), round(line.right) + 1, round(line.bottom) + 1)
    crop = image.crop(box).transpose(Transpose.ROTATE_270)
    again = _engine()(_pixels(crop), use_det=False)
    if not again.txts or again.scores[0] <= score:
        return line
    return replace(line, text=again.txts[0].strip())


def _line(text: str, box: np.ndarray) -> Line:
    """``box``: four corners, (4, 2) pixels."""
    return Line(text.strip(), *map(float, (*box.min(axis=0), *box.max(axis=0))))


def reading_order(lines: list[Line]) -> list[list[Line]]:
    """Pieces -> rows from top to bottom, each from left to right; text columns one by one.

    A recursive X-Y cut: side by side columns of running text are read apart, otherwise the
    region is cut at its largest horizontal gap. Cells of tables and labels of charts are too
    narrow to count as columns, so their rows stay rows.
    """
    columns = _columns(lines)
    if columns is not None:
        left, right = columns
        return reading_order(left) + reading_order(right)
    at = _largest_gap(lines)
    if at is None:
        return _rows(lines)
    above = [line for line in lines if line.top < at]
    below = [line for line in lines if line.top >= at]
    return reading_order(above) + reading_order(below)


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
