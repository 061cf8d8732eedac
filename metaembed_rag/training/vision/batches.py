"""Which windows and pages a step sees, and which token lies in which cell.

A batch follows from the seed and the step's number alone; pictures are decoded in threads, some
steps ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image

from metaembed_rag.errors import DatasetError
from metaembed_rag.training.vision.shards import PageSet

PAPER = -1
"""The owner of a cell in which no token lies."""

TOKENS_PER_CELL = 6
"""So many tokens of a cell are kept, those that cover most of it."""

_LEAST_COVER = 0.02
"""A token lies in a cell only if its box covers that much of it."""

_MOST_CELLS = (4, 40)
"""Rows and columns of cells that a token's box is looked at in."""

_TRIES = 4
Drawn = TypeVar("Drawn")


def stretch(image: Image.Image, side: int) -> Image.Image:
    """A grey picture as the square that Idefics3's image processor makes of it.

    It resizes the longer side first and the square afterwards, both by Lanczos.
    """
    width, height = image.size
    longer = max(width, height)
    if longer != side:
        size = (max(1, width * side // longer), max(1, height * side // longer))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return image.resize((side, side), Image.Resampling.LANCZOS)


def cell_tokens(
    boxes: np.ndarray, size: tuple[int, int], grid: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens lie in each cell of the square that a picture is stretched to.

    Args:
        boxes: int16 ``(n, 4)`` in pixels of the picture.
        size: The picture's width and height.
        grid: Cells in a row, and rows.

    Returns:
        Numbers of tokens, int64 ``(grid * grid, 6)``, :data:`PAPER` where there are fewer, the one
        that covers most first; and which part of each token lies there, float32 of the same shape.
    """
    scaled = boxes.astype(np.float64) * (grid / np.array([*size, *size]))
    left, top, right, bottom = scaled.T
    row, y = _overlaps(top, bottom, _MOST_CELLS[0])
    column, x = _overlaps(left, right, _MOST_CELLS[1])
    area = y[:, :, None] * x[:, None, :]  # (tokens, rows, columns), shares of a cell
    part = area / area.sum((1, 2), keepdims=True).clip(1e-9)
    inside = (row < grid)[:, :, None] & (column < grid)[:, None, :]
    cell = row[:, :, None] * grid + column[:, None, :]
    kept = np.flatnonzero((area >= _LEAST_COVER) & inside)
    kept = kept[np.lexsort((-area.ravel()[kept], cell.ravel()[kept]))]
    at = cell.ravel()[kept]
    rank = np.arange(len(at)) - np.searchsorted(at, at)  # place within its cell
    first = rank < TOKENS_PER_CELL
    tokens = np.full((grid * grid, TOKENS_PER_CELL), PAPER, np.int64)
    parts = np.zeros(tokens.shape, np.float32)
    tokens[at[first], rank[first]] = kept[first] // (_MOST_CELLS[0] * _MOST_CELLS[1])
    parts[at[first], rank[first]] = part.ravel()[kept][first]
    return tokens, parts


def _overlaps(low: np.ndarray, high: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells from each box's first one on, and the share of each that is covered: ``(n, most)``."""
    cells = np.floor(low).astype(np.int64)[:, None] + np.arange(most)
    covered = np.minimum(high[:, None], cells + 1) - np.maximum(low[:, None], cells)
    return cells, covered.clip(0, 1)


@dataclass(frozen=True)
class Windows:
    """Windows of pages.

    Args:
        pixels: uint8 ``(n, h, w)``.
        rows: int64 ``(n,)``: the first cell of each in its page; ``columns`` too.
        ids: int64 ``(n, cells, 6)``: the tokens in each cell, :data:`PAPER` where there are fewer.
        parts: float32 ``(n, cells, 6)``: which part of each token lies there.
    """

    pixels: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    ids: np.ndarray
    parts: np.ndarray


@dataclass(frozen=True)
class Pages:
    """Whole pages.

    Args:
        windows: Each page as one window.
        texts: Token ids of the pages, uint16 arrays; empty where the text is not known.
        queries: A query for each page, uint16 arrays.
    """

    windows: Windows
    texts: list[np.ndarray]
    queries: list[np.ndarray]


_Made = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of one page: pixels, tokens of its cells, parts."""


class Drawer:
    """Draws batches from pages.

    Args:
        pages: To draw from.
        side: Pixels of the square.
        cell: Pixels of a cell's side.
        seed: Of all draws.
        keep: So many decoded pages are kept in memory, 0.8 MB each at 896 pixels.

    Raises:
        DatasetError: No page has text.
    """

    def __init__(self, pages: PageSet, *, side: int, cell: int, seed: int, keep: int = 0) -> None:
        self.pages, self.side, self.cell, self.seed = pages, side, cell, seed
        self._kept: dict[int, _Made] = {}
        self._keep = keep
        self.grid = side // cell
        self._with_text = [i for i in range(len(pages)) if len(pages.tokens(i)) > 2]
        readable = set(self._with_text)
        self._answering = [i for i in range(len(pages)) if i in readable or pages.queries(i)]
        if not self._with_text:
            raise DatasetError("no page of the shards has text; prepare TeX or drawn pages")

    def windows(self, step: int, count: int, cells: int) -> Windows:
        """``count`` windows of ``cells`` times ``cells`` cells, four of each page drawn."""
        random = np.random.default_rng((self.seed, step, 0))
        pieces: list[tuple[np.ndarray, ...]] = []
        while len(pieces) < count:
            page = self._with_text[random.integers(len(self._with_text))]
            whole = self._page(page)
            for _ in range(min(4, count - len(pieces))):
                pieces.append(self._window(whole, cells, random))
        return Windows(*(np.stack(values) for values in zip(*pieces, strict=True)))

    def whole(self, step: int, count: int) -> Pages:
        """``count`` different pages, each with one of its queries or a piece of its text."""
        random = np.random.default_rng((self.seed, step, 1))
        chosen = random.choice(self._answering, min(count, len(self._answering)), replace=False)
        return self.given([int(page) for page in chosen], random)

    def given(self, chosen: list[int], random: np.random.Generator) -> Pages:
        """These pages."""
        pieces = [self._window(self._page(page), self.grid, random) for page in chosen]
        windows = Windows(*(np.stack(values) for values in zip(*pieces, strict=True)))
        texts = [self.pages.tokens(page) for page in chosen]
        return Pages(windows, texts, [self._query(page, random) for page in chosen])

    def _page(self, page: int) -> _Made:
        """Pixels ``(side, side)``; tokens and parts of each cell ``(grid, grid, 6)``."""
        made = self._kept.get(page) or self._make(page)
        if len(self._kept) < self._keep:
            self._kept[page] = made
        return made

    def _make(self, page: int) -> _Made:
        image, ids = self.pages.picture(page), self.pages.tokens(page).astype(np.int64)
        pixels = np.asarray(stretch(image, self.side))
        tokens, parts = cell_tokens(self.pages.boxes(page), image.size, self.grid)
        tokens = np.where(tokens == PAPER, PAPER, np.append(ids, 0)[tokens])
        shape = (self.grid, self.grid, TOKENS_PER_CELL)
        return pixels, tokens.reshape(shape), parts.reshape(shape)

    def _window(
        self, page: _Made, cells: int, random: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        """A window with text in it, if one is found in a few tries."""
        pixels, tokens, parts = page
        for _ in range(_TRIES):
            row, column = random.integers(0, self.grid - cells + 1, 2)
            at = np.s_[row : row + cells, column : column + cells]
            if (tokens[at][..., 0] != PAPER).mean() > 0.2:
                break
        square = np.s_[
            row * self.cell : (row + cells) * self.cell,
            column * self.cell : (column + cells) * self.cell,
        ]
        inside = (each[at].reshape(-1, TOKENS_PER_CELL) for each in (tokens, parts))
        return pixels[square], row, column, *inside

    def _query(self, page: int, random: np.random.Generator) -> np.ndarray:
        asked, tokens = self.pages.queries(page), self.pages.tokens(page)
        if asked and (not len(tokens) or random.random() < 0.5):
            return asked[random.integers(len(asked))]
        size = int(random.integers(3, 15))
        first = int(random.integers(max(1, len(tokens) - size)))
        return tokens[first : first + size]


def ahead(
    draw: Callable[[int], Drawn], steps: range, *, threads: int, depth: int = 4
) -> Iterator[tuple[int, Drawn]]:
    """``(step, draw(step))`` in order, computed in threads up to ``depth`` steps ahead."""
    waiting: deque[tuple[int, Future[Drawn]]] = deque()
    with ThreadPoolExecutor(max(1, threads)) as pool:
        try:
            for step in steps:
                waiting.append((step, pool.submit(draw, step)))
                if len(waiting) > depth:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
