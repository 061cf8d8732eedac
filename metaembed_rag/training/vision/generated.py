"""Drawn pages with real texts: prose, tables, charts, glossaries and cards, in many fonts.

What is drawn depends on the seed, the page's number, the texts and the fonts alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from metaembed_rag.training.vision.drawing import Canvas, Face
from metaembed_rag.training.vision.layer import TextLayer

SIDE = 896
_SIZES = ((634, SIDE), (634, SIDE), (692, SIDE), (SIDE, 634), (SIDE, 504), (SIDE, SIDE))
_MARGIN = 34


@dataclass(frozen=True)
class Passage:
    """A real query with the real text that answers it."""

    query: str
    text: str


@dataclass(frozen=True)
class DrawnPage:
    """A picture, its text with boxes, and the queries that it answers."""

    image: Image.Image
    layer: TextLayer
    queries: list[str]


def draw_page(
    passages: Sequence[Passage], fonts: Sequence[Path], seed: tuple[int, int]
) -> DrawnPage:
    """Draw one page.

    Args:
        passages: To choose from.
        fonts: TrueType files.
        seed: Of the whole set, and the page's number.
    """
    return _Page(passages, fonts, np.random.default_rng(seed)).draw()


class _Page:
    """One page while it is drawn: a cursor in a column, and what was drawn so far."""

    def __init__(
        self, passages: Sequence[Passage], fonts: Sequence[Path], random: np.random.Generator
    ) -> None:
        self.passages, self.fonts, self.random = passages, fonts, random
        size = _SIZES[random.integers(len(_SIZES))]
        self.canvas = Canvas(size, paper=int(random.integers(225, 256)))
        ink = int(random.integers(0, 90))
        self.body = Face(self._font(), int(random.integers(9, 18)), ink)
        self.large = Face(self._font(), int(self.body.size * random.uniform(1.2, 2.2)), ink)
        wide = size[0] > 600 + self.body.size * 10
        self.columns = int(random.integers(1, 4 if wide else 3))
        self.width = (size[0] - _MARGIN) / self.columns - _MARGIN
        self.bottom = size[1] - _MARGIN
        self.left, self.top = float(_MARGIN), float(_MARGIN)
        self.queries: list[str] = []

    def draw(self) -> DrawnPage:
        for column in range(self.columns):
            self.left = _MARGIN + column * (self.width + _MARGIN)
            self.top = float(_MARGIN)
            while self.top < self.bottom - 5 * self.body.size:
                self._block()()
                self.top += self.body.size
        return DrawnPage(self.canvas.image, self.canvas.layer, self.queries)

    def _block(self) -> Callable[[], None]:
        kinds = (self._prose, self._prose, self._table, self._bars, self._curve, self._glossary)
        return kinds[self.random.integers(len(kinds))]

    def _font(self) -> Path:
        return self.fonts[int(self.random.integers(len(self.fonts)))]

    def _passage(self) -> Passage:
        return self.passages[int(self.random.integers(len(self.passages)))]

    def _write(self, text: str, face: Face, bottom: float | None = None) -> None:
        self.top = self.canvas.paragraph(
            text,
            face,
            left=self.left,
            top=self.top,
            width=self.width,
            bottom=self.bottom if bottom is None else bottom,
        )

    def _prose(self) -> None:
        """A heading or none, and a text of at most 120 words."""
        passage = self._passage()
        if self.random.random() < 0.5:
            self._write(passage.query, self.large)
        before = self.top
        self._write(" ".join(passage.text.split()[:120]), self.body)
        if self.top > before:
            self.queries.append(passage.query)

    def _glossary(self) -> None:
        """Up to six entries, each a short text with its term."""
        for _ in range(int(self.random.integers(2, 7))):
            passage = self._passage()
            text = " ".join(passage.text.split()[:25])
            before = self.top
            self._write(f"{passage.query}: {text}", self.body)
            if self.top > before:
                self.queries.append(passage.query)

    def _title(self) -> list[str]:
        """Write the title of a table or chart; labels for it from the text that it names."""
        passage = self._passage()
        before = self.top
        self._write(passage.query, self.large)
        if self.top > before:
            self.queries.append(passage.query)
        words = re.findall(r"[^\W\d_]{3,12}", passage.text) or ["total"]
        count = int(self.random.integers(3, 9))
        chosen = self.random.choice(len(words), min(count, len(words)), replace=False)
        return [words[i] for i in sorted(chosen)]

    def _number(self) -> str:
        value = 10 ** self.random.uniform(0, 4)
        return f"{value:.1f}" if value < 100 else f"{value:,.0f}"

    def _table(self) -> None:
        """Rows of a label and two or three numbers."""
        labels = self._title()
        columns = int(self.random.integers(2, 4))
        pitch, step = self.body.size * 1.5, self.width / (columns + 1)
        ruled = self.random.random() < 0.6
        for label in labels:
            if self.top + pitch > self.bottom:
                return
            self._cell(label, self.left, step)
            for column in range(1, columns + 1):
                self._cell(self._number(), self.left + column * step, step)
            self.top += pitch
            if ruled:
                self._line((self.left, self.top - 3, self.left + self.width, self.top - 3))

    def _cell(self, text: str, left: float, room: float) -> None:
        if self.body.width(text) < room:
            self.canvas.word(left, self.top, text, self.body)

    def _line(self, points: Sequence[float]) -> None:
        self.canvas.draw.line([round(p) for p in points], fill=self.body.ink)

    def _bars(self) -> None:
        """Lying bars with a label before and a number behind each."""
        labels = self._title()
        room = max(self.body.width(label) for label in labels) + 6
        longest = self.width - room - self.body.width("9,999") - 8
        if longest < 20:
            return
        grey = int(self.random.integers(90, 190))
        for label in labels:
            if self.top + self.body.size * 1.6 > self.bottom:
                return
            self.canvas.word(self.left, self.top, label, self.body)
            begin = round(self.left + room)
            end = round(begin + longest * self.random.uniform(0.05, 1))
            box = (begin, round(self.top), end, round(self.top + self.body.size * 1.1))
            self.canvas.draw.rectangle(box, fill=grey)
            self.canvas.word(end + 5, self.top, self._number(), self.body)
            self.top += self.body.size * 1.6

    def _curve(self) -> None:
        """A line chart: axes, a curve, years below."""
        self._title()
        height = min(self.width * 0.5, self.bottom - self.top - 2 * self.body.size)
        if height < 50:
            return
        low, right = self.top + height, self.left + self.width
        self._line((self.left, self.top, self.left, low, right, low))
        years = np.arange(5) + int(self.random.integers(1950, 2020))
        heights = low - height * self.random.uniform(0.05, 0.95, len(years))
        places = np.linspace(self.left + 8, right - self.body.width("2020"), len(years))
        self._line([v for point in zip(places, heights, strict=True) for v in point])
        every = math.ceil(self.body.width("2020 ") / (places[1] - places[0]))
        for place, year in list(zip(places, years, strict=True))[::every]:
            self.canvas.word(place, low + 3, str(year), self.body)
        self.top = low + 3 + self.body.size * 1.3
