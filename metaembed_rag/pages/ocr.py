"""Text of a picture, for pages that have none: rapidocr, offline, its models in its wheel."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Transpose

from metaembed_rag.errors import ResourceLimitError, require
from metaembed_rag.pages.frames import Header, field_of
from metaembed_rag.pages.lines import Box, Lettering
from metaembed_rag.pages.ocr_languages import OcrLanguage
from metaembed_rag.pages.ocr_order import Line, reading_order
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

_language = OcrLanguage()  # that of the picture that is being read

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
        ModelError: The environment names a language for which there is no model
            (:class:`metaembed_rag.pages.ocr_languages.OcrLanguage`).
    """
    if min(image.size) < _LEAST_SIDE:
        return ""
    _require_extra()
    image = _of_readable_size(to_rgb(image))
    language = OcrLanguage.of()
    with _LOCK:
        if READERS.can_start():
            return _read_in_worker(image, language)
        return read_here(image, language)


def read_here(image: Image.Image, language: OcrLanguage = _language) -> str:
    """Read the text of an RGB picture of readable size in this process; one thread at a time."""
    _use(language)
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


def _read_in_worker(image: Image.Image, language: OcrLanguage) -> str:
    """Read an RGB picture in a worker; once more in a new one where the first was lost.

    Raises:
        ResourceLimitError: Both were lost, or time was up.
    """
    said = {"size": image.size, "language": language.name, "model": str(language.model or "")}
    for is_last in (False, True):
        try:
            with WORKERS.lease(new=is_last) as worker:
                worker.send(request("read", LIMITS, **said), image.tobytes())
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


def _use(language: OcrLanguage) -> None:
    """Read with the model of this language from now on."""
    global _language
    _language = language


def _engine() -> Any:
    """The engine of the language that is in use."""
    return _made(_language)


@cache
def _made(language: OcrLanguage) -> Any:
    """An engine, made once per process and language."""
    require("onnxruntime")
    rapidocr = require("rapidocr")
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    settings = dict(_SETTINGS)
    if language.model is not None:
        settings |= {"Rec.model_path": str(language.model)}
        settings |= {"Rec.lang_type": rapidocr.LangRec(language.name)}  # how lines are ordered
        settings |= {"Rec.ocr_version": rapidocr.OCRVersion.PPOCRV5}
        settings |= {"Rec.model_type": rapidocr.ModelType.MOBILE}
    if language.characters is not None:
        settings |= {"Rec.rec_keys_path": str(language.characters)}
    return rapidocr.RapidOCR(params=settings)


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
