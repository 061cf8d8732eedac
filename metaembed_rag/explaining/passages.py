"""The pieces of a page that match a query best, found coarse to fine, and their shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.explaining import crops, pieces
from metaembed_rag.explanation import Passage
from metaembed_rag.model.inputs import Input
from metaembed_rag.pages import Page
from metaembed_rag.pages.lines import Box, TextLine, boxes_of

MOST = 5
"""Passages of an explanation."""
_KEPT = 2
"""Windows, or parts of a picture, that a step keeps."""
_SEEDS = 2
"""Units around which wider passages are tried, and of how many units these are."""
_WIDTHS = (2, 3)
_SAME = 0.3
"""Share of a part of a picture from which it shows the same as another one."""

Encode = Callable[[Sequence[Input]], NDArray[np.float32]]
"""Documents -> float32 unit vectors, shape (documents, R, D), as long as the stored ones."""


@dataclass(frozen=True)
class Scored:
    """A piece of a page with what the query finds in it.

    Attributes:
        nearest: Of each query vector the similarity to the piece's nearest vector, shape (r_q,).
        start: Of its text, and ``end``.
        end: See ``start``.
        boxes: Where it is on the picture.
    """

    nearest: NDArray[np.float32]
    start: int
    end: int
    boxes: tuple[Box, ...] = ()

    @property
    def score(self) -> float:
        """MaxSim / r_q of the piece alone."""
        return min(1.0, max(-1.0, float(self.nearest.mean())))


class PassageFinder:
    """Finds passages of one page for one query.

    Args:
        query: float32 unit vectors of shape (r_q, D): those that take part.
        budget: Of both sides.
        encode: The model.

    Attributes:
        encoded: How many pieces were encoded.
    """

    def __init__(self, query: NDArray[np.float32], budget: RetrievalBudget, encode: Encode) -> None:
        self._query, self._budget, self._encode = query, budget, encode
        self.encoded = 0

    def in_text(self, text: str, lines: Sequence[TextLine]) -> list[Scored]:
        """The passages of a text, best first, none over another.

        Lines and sentences are the units. While there are over 64 of them, overlapping windows (at
        most about 12) are scored and those in the best two stay. Then each unit is scored, and so
        are two and three in a row around the best two. A page of 60 lines costs up to 70 pieces.
        """
        found = pieces.units(text)
        scope = list(range(len(found)))
        while len(scope) > pieces.FEW:
            coarse = pieces.windows(scope)
            scored = self._texts(text, [pieces.span_of(found, window) for window in coarse])
            order = sorted(range(len(coarse)), key=lambda place: -scored[place].score)
            kept = sorted({unit for place in order[:_KEPT] for unit in coarse[place]})
            if len(kept) >= len(scope):
                break
            scope = kept
        fine = [range(unit, unit + 1) for unit in scope]
        scored = self._texts(text, [found[unit] for unit in scope])
        order = sorted(range(len(fine)), key=lambda place: (-scored[place].score, place))
        wider = pieces.around([scope[place] for place in order[:_SEEDS]], scope, _WIDTHS)
        scored += self._texts(text, [pieces.span_of(found, window) for window in wider])
        fine += wider
        order = sorted(range(len(fine)), key=lambda place: (-scored[place].score, place))
        chosen: list[int] = []
        for place in order:
            if len(chosen) < MOST and not any(_meet(fine[place], fine[one]) for one in chosen):
                chosen.append(place)
        return [_placed(scored[place], lines) for place in chosen]

    def in_picture(self, image: Image.Image, text: str, lines: Sequence[TextLine]) -> list[Scored]:
        """The parts of a picture, best first: six, then the best two cut in four; 14 pieces."""
        coarse = self._crops(image, crops.grid(crops.WHOLE, *crops.COARSE))
        best = sorted(coarse, key=lambda one: -one.score)
        fine: list[Scored] = []
        for one in best[:_KEPT]:
            if crops.can_be_cut(image, one.boxes[0]):
                fine += self._crops(image, crops.grid(one.boxes[0], *crops.FINE))
        chosen: list[Scored] = []
        for one in sorted([*(fine or best), *best[_KEPT:]], key=lambda one: -one.score):
            apart = all(crops.overlap(one.boxes[0], other.boxes[0]) < _SAME for other in chosen)
            if len(chosen) < MOST and apart:
                chosen.append(one)
        return [_with_text(one, lines) for one in chosen]

    def _texts(self, text: str, spans: Sequence[pieces.Span]) -> list[Scored]:
        nearest = self._nearest([text[start:end] for start, end in spans])
        return [Scored(one, *span) for one, span in zip(nearest, spans, strict=True)]

    def _crops(self, image: Image.Image, boxes: Sequence[Box]) -> list[Scored]:
        nearest = self._nearest([crops.crop(image, box) for box in boxes])
        return [Scored(one, 0, 0, (box,)) for one, box in zip(nearest, boxes, strict=True)]

    def _nearest(self, inputs: Sequence[Input]) -> list[NDArray[np.float32]]:
        """Of each piece the similarity of each query vector to its nearest vector."""
        if not inputs:
            return []
        self.encoded += len(inputs)
        vectors = self._encode(inputs)[:, : self._budget.r_c]  # (pieces, r_c, D)
        return list((vectors @ self._query.T).max(axis=1))  # (pieces, r_q)


def passages_of(
    page: Page, found: Sequence[Scored], similarities: NDArray[np.float32]
) -> tuple[Passage, ...]:
    """Pieces as passages, with the parts of the page's score that fall to them.

    Args:
        page: Has the text.
        found: Best first.
        similarities: Of each query vector to the page's nearest vector, shape (r_q,).
    """
    if not found:
        return ()
    shares = similarities / len(similarities)
    owner = np.stack([one.nearest for one in found]).argmax(axis=0)  # (r_q,): the first of equals
    return tuple(
        Passage(
            page.text[one.start : one.end],
            one.start,
            one.end,
            one.score,
            float(shares[owner == place].sum()),
            one.boxes,
        )
        for place, one in enumerate(found)
    )


def _meet(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


def _placed(one: Scored, lines: Sequence[TextLine]) -> Scored:
    return Scored(one.nearest, one.start, one.end, boxes_of(lines, one.start, one.end))


def _with_text(one: Scored, lines: Sequence[TextLine]) -> Scored:
    return Scored(one.nearest, *crops.text_in(lines, one.boxes[0]), one.boxes)
