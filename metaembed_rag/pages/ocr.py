"""Text of a picture, for pages that have none: rapidocr, offline, its models in its wheel."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, pairwise
from operator import itemgetter
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Transpose

from metaembed_rag.errors import ResourceLimitError, require
from metaembed_rag.pages.frames import Header, field_of
from metaembed_rag.pages.lines import Box, Lettering
from metaembed_rag.pages.pictures import fitted, to_rgb
from metaembed_rag.pages.worker_client import Readers, end_of, request, text_of
from metaembed_rag.pages.workers import Pool, WorkerLostError, WorkLimits

MAX_SIDE = 2_000
"""Larger pictures are made smaller first: more pixels cost time and find no more text."""

LIMITS = WorkLimits(seconds=300.0, memory=2 * 1024**3)
"""What reading one picture may take. The longest screenshot is read in some fifty pieces, twice
where it has to be turned; that takes 100 seconds of computing on a slow machine."""

WORKERS = Pool("metaembed_rag.pages.ocr_worker", idle=1)
"""The process that reads letters for this one: its models take 300 MB."""
READERS = Readers(WORKERS, "letters on pictures (OCR)")

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
    # What is read badly tells that the picture is upside down, and is left out below.
    "Global.text_score": 0.0,
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}

_DEGREES = {None: 0, Transpose.ROTATE_90: 90, Transpose.ROTATE_180: 180, Transpose.ROTATE_270: 270}

_LOCK = threading.Lock()  # an engine keeps the settings of a call in itself


_LEAST_SURE = 0.5
"""Confidence from which what was read is kept."""
_SURE = 0.85
"""Confidence of a picture that is upright: pages and charts have 0.93 to 0.99, and upside down 0.45
to 0.76 (``benchmarks/quality/turned_pictures.py``)."""
_SIDEWAYS = 0.8
"""Share of the characters in tall lines from which a picture lies on its side; a chart with upright
labels below its bars has less."""
_SAMPLE = 3
_AS_MUCH = 0.9
"""A picture stays turned where it then has so much of the text; lying on its side, it may well have
had all of it, in the wrong order."""
_LEAST_SIDE = 6
"""Pixels of the shorter side below which there are no letters."""

_TILE = 1.5
"""How many times longer than wide a piece of a long picture is."""
_SMALLEST_TILE = 736
_SMALL = 160
"""Pictures with a longest side below this are enlarged fourfold: so the engine finds letters of 8
pixels' height."""


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


def read_text(image: Image.Image) -> str:
    """Read the text of a picture, in reading order, one line of the picture per line.

    A picture that is upside down or lies on its side is turned first; a long one is read in pieces.
    It is read in a worker process with limits (:data:`LIMITS`), which the first call starts (it
    loads the models in 1.4 s); calls from several threads wait for each other. A page of 634 x 896
    pixels takes about 2.3 s on one core, a chart 0.7 s; one that has to be turned takes twice as
    long.

    Args:
        image: Of any size and mode; transparent parts as :func:`to_rgb` fills them.

    Returns:
        The text, which knows where its lines stand (:class:`metaembed_rag.pages.lines.Lettering`);
        ``""`` when none is found.

    Raises:
        MissingExtraError: rapidocr is not installed; the message is the ``pip install`` line.
        ResourceLimitError: It cannot be read within the limits, or ends the process that reads it.
    """
    if min(image.size) < _LEAST_SIDE:
        return ""
    _require_extra()
    image = _of_readable_size(to_rgb(image))
    with _LOCK:
        return _read_in_worker(image) if READERS.can_start() else read_here(image)


def read_here(image: Image.Image) -> str:
    """Read the text of an RGB picture of readable size in this process; one thread at a time."""
    lines, turn = _read_upright(image)
    kept = [line for line in lines if line.score >= _LEAST_SURE]
    rows = reading_order(kept)
    size = image.size if turn in (None, Transpose.ROTATE_180) else image.size[::-1]
    pieces = [(line.text, _as_shown(line, size, turn)) for row in rows for line in row]
    said = "\n".join(" ".join(line.text for line in row) for row in rows)
    return Lettering(said, pieces, _DEGREES[turn])


def _as_shown(line: Line, size: tuple[int, int], turn: Transpose | None) -> Box:
    """Where a line of a picture of this size stands on the picture before it was turned."""
    left, right = line.left / size[0], line.right / size[0]
    top, bottom = line.top / size[1], line.bottom / size[1]
    if turn is Transpose.ROTATE_180:
        return 1 - right, 1 - bottom, 1 - left, 1 - top
    if turn is Transpose.ROTATE_90:  # against the clock: what was right is on top
        return 1 - bottom, left, 1 - top, right
    if turn is Transpose.ROTATE_270:
        return top, 1 - right, bottom, 1 - left
    return left, top, right, bottom


def lettering_of(header: Header, body: bytes) -> Lettering:
    """What a worker has read, with its lines.

    Raises:
        ValueError: The frame holds something else.
    """
    text = text_of(header, body)
    try:
        pieces = [(str(said), _box_of(box)) for said, box in field_of(header, "lines", list)]
    except TypeError as error:
        raise ValueError(f"a frame holds no lines ({error})") from None
    turn = header.get("turn", 0)
    if turn not in _DEGREES.values():
        raise ValueError(f"a frame's turn is {turn}")
    return Lettering(text, pieces, turn)


def _box_of(said: Sequence[Any]) -> Box:
    left, top, right, bottom = map(float, said)
    return left, top, right, bottom


def _read_in_worker(image: Image.Image) -> str:
    """Read an RGB picture in a worker; once more in a new one where the first was lost.

    Raises:
        ResourceLimitError: Both were lost, or time was up.
    """
    for is_last in (False, True):
        try:
            with WORKERS.lease(new=is_last) as worker:
                worker.send(request("read", LIMITS, size=image.size), image.tobytes())
                text = worker.receive(LIMITS.seconds, lettering_of)
                worker.receive(LIMITS.seconds, end_of)
                return text
        except WorkerLostError as lost:
            if is_last or lost.cause == "time":
                raise ResourceLimitError("a picture", _why_lost(lost)) from None
    raise AssertionError("the second time it is read or lost")


def _why_lost(lost: WorkerLostError) -> str:
    what = "reading the letters on it by OCR"
    if lost.cause == "time":
        return f"{what} took more than {LIMITS.seconds:g} seconds; index it without OCR"
    if lost.cause == "memory":
        most = LIMITS.memory / 1024**2
        return f"{what} needs more than {most:,.0f} MiB of memory; index it without OCR"
    return f"{what} ended the process that does that ({lost.how}); run again, or without OCR"


def _require_extra() -> None:
    """Raise what is missing for OCR here, not in the worker; nothing is loaded where all is there.

    Raises:
        MissingExtraError: The message is the ``pip install`` line.
    """
    for name in ("onnxruntime", "rapidocr"):
        if importlib.util.find_spec(name) is None:
            require(name)


def _of_readable_size(image: Image.Image) -> Image.Image:
    if max(image.size) < _SMALL:
        return image.resize((4 * image.width, 4 * image.height), Image.Resampling.LANCZOS)
    return fitted(image, MAX_SIDE)


def _read_upright(image: Image.Image) -> tuple[list[Line], Transpose | None]:
    """The lines of a picture, after it was turned if that makes it readable, and how it was."""
    lines = _read(image)
    turn = _turn(image, lines)
    if turn is not None:
        turned = image.transpose(turn)
        again = _read(turned)
        if _found(again) > _AS_MUCH * _found(lines):
            return [_read_upwards(turned, line) for line in again], turn
    return [_read_upwards(image, line) for line in lines], None


def _turn(image: Image.Image, lines: list[Line]) -> Transpose | None:
    """How to turn a picture so that its lines run from left to right; None where they do.

    Only where most of it is in tall lines, or where what was read is doubtful; then the longest
    lines are read again the other way round, which costs little beside finding them.
    """
    tall = _characters([line for line in lines if line.is_tall])
    is_sideways = tall > _SIDEWAYS * _characters(lines)
    if not lines or (_confidence(lines) >= _SURE and not is_sideways):
        return None
    longest = sorted(lines, key=lambda line: -max(line.right - line.left, line.bottom - line.top))
    sample = longest[:_SAMPLE]
    # The engine itself reads tall lines from top to bottom.
    other = Transpose.ROTATE_270 if is_sideways else Transpose.ROTATE_180
    read = [_read_line(image, line, other) for line in sample]
    if _confidence(read) > _confidence(sample):
        return other
    return Transpose.ROTATE_90 if is_sideways else None


def _found(lines: list[Line]) -> float:
    """How many characters were read, each counted by its confidence."""
    return sum(len(line.text) * line.score for line in lines)


def _characters(lines: list[Line]) -> int:
    return sum(len(line.text) for line in lines)


def _confidence(lines: list[Line]) -> float:
    """The mean confidence of a character in [0, 1]; 0 where nothing was read."""
    return _found(lines) / max(1, _characters(lines))


def _read(image: Image.Image) -> list[Line]:
    """The lines of a picture as it stands, those of a long one piece by piece."""
    lines = []
    for left, top, right, bottom in _pieces(image):
        found = _engine()(_pixels(image.crop((left, top, right, bottom))), use_det=True)
        if found.txts is not None:
            for text, box, score in zip(found.txts, found.boxes, found.scores, strict=True):
                lines.append(_line(text, box + np.array((left, top)), score))
    return lines


def _pieces(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Boxes that cover a picture: one, or for a long one several, cut where nothing stands.

    The engine shrinks what it is given to 736 pixels, which leaves nothing of a long picture. A
    piece ends in its last quarter at the row (of a wide picture, the column) in which the least
    changes, which is between two lines wherever there is such a place; so no line is in two pieces.
    """
    size, is_wide = max(image.size), image.width > image.height
    longest = max(_SMALLEST_TILE, int(_TILE * min(image.size)))
    cuts = [0]
    if size > 2 * longest:
        changes = _changes(image)  # (size,)
        while size - cuts[-1] > 1.25 * longest:
            start = cuts[-1] + longest * 3 // 4
            cuts.append(start + int(changes[start : cuts[-1] + longest].argmin()))
    for start, end in pairwise([*cuts, size]):
        yield (start, 0, end, image.height) if is_wide else (0, start, image.width, end)


def _changes(image: Image.Image) -> np.ndarray:
    """How much the pixels of each row (of a wide picture, column) differ from their neighbours.

    The mean of 9 rows, so that a cut keeps off letters; float64 of shape (rows,).
    """
    grey = np.asarray(image.convert("L"), dtype=np.int16)
    if image.width > image.height:
        grey = grey.T
    changes = np.abs(np.diff(grey, axis=1)).sum(axis=1)
    return np.convolve(changes, np.ones(9), mode="same")


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


def _read_upwards(image: Image.Image, line: Line) -> Line:
    """A tall line read again from bottom to top, as the labels of vertical axes are written.

    rapidocr turns tall boxes the other way, and so reads these labels upside down.
    """
    if not line.is_tall:
        return line
    again = _read_line(image, line, Transpose.ROTATE_270)
    return again if again.score > line.score else line


def _read_line(image: Image.Image, line: Line, turn: Transpose) -> Line:
    """A line read again after its part of the picture was turned; its box stays."""
    box = (round(line.left), round(line.top), round(line.right) + 1, round(line.bottom) + 1)
    again = _engine()(_pixels(image.crop(box).transpose(turn)), use_det=False)
    if not again.txts:
        return replace(line, text="", score=0.0)
    return replace(line, text=again.txts[0].strip(), score=float(again.scores[0]))


def _line(text: str, box: np.ndarray, score: float) -> Line:
    """``box``: four corners, (4, 2) pixels."""
    left, top, right, bottom = map(float, (*box.min(axis=0), *box.max(axis=0)))
    return Line(text.strip(), left, top, right, bottom, float(score))


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
