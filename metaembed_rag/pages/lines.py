"""Where the lines of a page's text stand on its picture: found once, when the page is read.

A page keeps them packed (`Page.lines`), 12 bytes a line in base64: a search that nobody asks to
explain unpacks none, and a record holds them as it holds text.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

Box = tuple[float, float, float, float]
"""Left, top, right and bottom as fractions of the picture's width and height, from its top left."""

_ROW = struct.Struct("<6H")
"""Characters between the line and the one before, its length, and its box in 65,535ths."""
_MOST = 2**16 - 1
_NEAR = 400
"""Letters behind the last line that was found in which the next one is looked for at first."""
_TALL = 2.0
"""Height over width of a line's box from which it is taken for vertical."""


@dataclass(frozen=True)
class TextLine:
    """A piece of a page's text that stands in one line of its picture.

    Args:
        start: Its first character in the page's text.
        end: The character behind its last.
        box: Where it stands.

    Raises:
        ValueError: It is empty, or its box is none.
    """

    start: int
    end: int
    box: Box

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box
        if not (0 <= self.start < self.end and 0 <= left <= right <= 1 and 0 <= top <= bottom <= 1):
            raise ValueError(f"{self} is no line of a text")

    def part(self, start: int, end: int) -> Box:
        """Where a part of it stands, as if all its characters were of one width.

        Of a line that runs from top to bottom it is the whole box.
        """
        left, top, right, bottom = self.box
        if bottom - top > _TALL * (right - left):
            return self.box
        width = (right - left) / (self.end - self.start)
        first, last = max(start, self.start), min(end, self.end)
        return (
            left + width * (first - self.start),
            top,
            min(right, left + width * (last - self.start)),
            bottom,
        )


def packed(lines: Iterable[TextLine]) -> str:
    """Lines in the order of the text, which do not overlap, as text: 16 characters each.

    Of a line that is longer than 65,535 characters the rest is left out.
    """
    rows: list[bytes] = []
    reached = 0
    for line in sorted(lines, key=lambda line: line.start):
        gap = line.start - reached
        if gap < 0:
            continue
        while gap > _MOST:
            rows.append(_ROW.pack(_MOST, 0, 0, 0, 0, 0))
            gap -= _MOST
        length = min(line.end - line.start, _MOST)
        rows.append(_ROW.pack(gap, length, *(round(_MOST * value) for value in line.box)))
        reached = line.start + length
    return base64.b64encode(b"".join(rows)).decode("ascii")


def unpacked(text: str, length: int) -> tuple[TextLine, ...]:
    """The lines that :func:`packed` packed, of a text of this length.

    What is damaged, or leads beyond the text, gives no lines: they are derived from the page, and
    cost it nothing.
    """
    try:
        data = base64.b64decode(text, validate=True)
        return tuple(line for line in _lines(data) if line.end <= length)
    except (binascii.Error, struct.error, ValueError):
        return ()


def _lines(data: bytes) -> Iterator[TextLine]:
    reached = 0
    for gap, length, *box in _ROW.iter_unpack(data):
        start = reached + gap
        reached = start + length
        if length:
            left, top, right, bottom = (value / _MOST for value in box)
            yield TextLine(start, reached, (left, top, right, bottom))


def located(
    text: str, found: Iterable[tuple[str, Box]], *, in_order: bool = True
) -> list[TextLine]:
    """Find in a text the lines that it was made of.

    Spaces and ends of lines do not count, so that a word that was divided at the end of a line is
    found in two of them. A line that does not stand in the text is left out.

    Args:
        text: Of a page.
        found: What was read in each line, and where.
        in_order: Whether they come in the order of the text; else each is looked for in all of it.
    """
    places = [place for place, one in enumerate(text) if not one.isspace()]
    letters = "".join(text.split())  # the same characters
    lines: list[TextLine] = []
    reached = 0
    for said, box in found:
        wanted, clipped = "".join(said.split()), _clipped(box)
        if not wanted or clipped is None:
            continue
        at = letters.find(wanted, reached, reached + _NEAR + len(wanted))
        at = letters.find(wanted, reached) if at < 0 and len(wanted) > 3 else at
        if at < 0:
            continue
        last = at + len(wanted) - 1
        reached = last + 1 if in_order else 0
        lines.append(TextLine(places[at], places[last] + 1, clipped))
    return lines


class Lettering(str):
    """What was read of a picture: a text that remembers where its lines stand.

    Args:
        text: All of it.
        lines: What stands in each line, in the order of the text, and where on the picture as it
            was given.
        turn: Degrees against the clock by which the picture has to be turned to be upright: 0, 90,
            180 or 270.
    """

    lines: tuple[tuple[str, Box], ...]
    turn: int

    def __new__(cls, text: str, lines: Iterable[tuple[str, Box]] = (), turn: int = 0) -> Self:
        """A text with its lines."""
        made = super().__new__(cls, text)
        made.lines = tuple(lines)
        made.turn = turn
        return made


def lines_of(read: str) -> tuple[tuple[str, Box], ...]:
    """The lines of what was read; none of a plain text."""
    return read.lines if isinstance(read, Lettering) else ()


def turn_of(read: str) -> int:
    """How the picture has to be turned, in degrees against the clock; 0 for a plain text."""
    return read.turn if isinstance(read, Lettering) else 0


def turned_box(box: Box, degrees: int) -> Box:
    """A box on a picture, as it stands once that was turned against the clock by quarters."""
    for _ in range(degrees % 360 // 90):
        left, top, right, bottom = box
        box = top, 1 - right, bottom, 1 - left
    return box


def turned_lines(lines: str, length: int, degrees: int) -> str:
    """Packed lines of a text of this length, after its picture was turned against the clock."""
    found = unpacked(lines, length) if degrees else ()
    return (
        packed(replace(line, box=turned_box(line.box, degrees)) for line in found)
        if degrees
        else lines
    )


def moved(lines: str, before: str, after: str) -> str:
    """The lines of one text in another one that has its lines, too.

    Args:
        lines: Packed, of the text ``before``.
        before: The text that a page had.
        after: The text that it has now, which may have more before, between and behind.
    """
    if not lines or before == after:
        return lines
    found = unpacked(lines, len(before))
    return packed(located(after, ((before[line.start : line.end], line.box) for line in found)))


def boxes_of(lines: Iterable[TextLine], start: int, end: int) -> tuple[Box, ...]:
    """Where the characters from ``start`` to ``end`` stand, a box a line."""
    return tuple(line.part(start, end) for line in lines if line.start < end and start < line.end)


def _clipped(box: Box) -> Box | None:
    """A box inside of the picture; None for one outside, or that is none."""
    if not all(map(math.isfinite, box)):
        return None
    left, top, right, bottom = (min(1.0, max(0.0, value)) for value in box)
    return (left, top, right, bottom) if left < right and top < bottom else None
