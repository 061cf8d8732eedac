"""BM25 of word pairs: which pages say two words of the query one after the other.

A title or a name is more than its words. bm25s knows a term by its text; a text for each pair of
words would take gigabytes of Python strings for 100,000 pages, so here a pair is one integer and
everything is an array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_K1, _B = 1.5, 0.75
"""What bm25s takes for words."""


@dataclass(frozen=True)
class WordPairs:
    """BM25 (Lucene's variant) of every pair of neighbouring words on every page.

    Attributes:
        keys: The pairs, int64, ascending: the first word's number times 2**32, plus the second's.
        starts: int64 of shape (pairs + 1,): where each pair's part of the next two begins.
        places: int32: pages that hold the pair.
        impacts: float32: what the pair adds to the score of each.
        pages: Number of pages.
    """

    keys: NDArray[np.int64]
    starts: NDArray[np.int64]
    places: NDArray[np.int32]
    impacts: NDArray[np.float32]
    pages: int

    @classmethod
    def build(cls, words: Sequence[Sequence[int]]) -> WordPairs:
        """Index pages, each given as the numbers (0 to 2**31 - 1) of its words in order."""
        keys, places = _pairs(words)
        order = np.lexsort((places, keys))
        keys, places = keys[order], places[order]
        first = _changes(keys, places)  # of each pair on each page
        counts = np.diff(first, append=len(keys))
        keys, places = keys[first], places[first]
        starts = _changes(keys)
        holding = np.diff(starts, append=len(keys))  # pages with the pair
        sizes = np.array([max(len(one) - 1, 0) for one in words])
        impacts = np.repeat(_rarity(holding, len(words)), holding) * _share(counts, sizes, places)
        return cls(
            keys[starts],
            np.append(starts, len(keys)),
            places.astype(np.int32),
            impacts.astype(np.float32),
            len(words),
        )

    def scores(self, words: Sequence[int | None]) -> NDArray[np.float32]:
        """The score of every page, float32 of shape (pages,), at least 0.

        Args:
            words: The query's words in order; None for one that is on no page.
        """
        scores = np.zeros(self.pages, dtype=np.float32)
        for one, other in pairwise(words):
            if one is not None and other is not None:
                part = self._part((one << 32) + other)
                scores[self.places[part]] += self.impacts[part]  # a page is there once
        return scores

    def most(self, words: Sequence[int | None]) -> float:
        """Σ idf of the pairs, which :meth:`scores` stays under; 0 without a pair.

        A pair that no page has counts as the rarest.

        Args:
            words: As in :meth:`scores`.
        """
        parts = [
            slice(0) if one is None or other is None else self._part((one << 32) + other)
            for one, other in pairwise(words)
        ]
        holding = np.array([part.stop - (part.start or 0) for part in parts], dtype=np.int64)
        return float(_rarity(holding, self.pages).sum())

    def impacts_of(
        self, one: int | None, other: int | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The places of the pages that have a pair, and what it gives the score of each."""
        known = one is not None and other is not None
        part = self._part((one << 32) + other) if known else slice(0)  # type: ignore[operator]
        return self.places[part], self.impacts[part]

    def save(self, path: Path) -> None:
        """Write it as one ``.npz`` file.

        Raises:
            OSError: The place cannot be written.
        """
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> WordPairs:
        """Read what :meth:`save` wrote.

        Raises:
            OSError: It cannot be read.
            ValueError: It is damaged.
        """
        with np.load(path, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in ("keys", "starts", "places", "impacts")}
            return cls(**arrays, pages=int(kept["pages"]))

    def renumbered(self, numbers: NDArray[np.int64]) -> WordPairs:
        """The same pairs where each word has another number.

        Args:
            numbers: The new number of each word, by its old one.
        """
        keys = (numbers[self.keys >> 32] << 32) + numbers[self.keys & 0xFFFFFFFF]
        order = np.argsort(keys, kind="stable")
        holding = np.diff(self.starts)[order]
        spans = [np.arange(*self.starts[place : place + 2]) for place in order.tolist()]
        rows = np.concatenate([np.arange(0), *spans])
        starts = np.concatenate([[0], np.cumsum(holding)])
        return WordPairs(keys[order], starts, self.places[rows], self.impacts[rows], self.pages)

    def arrays(self) -> list[NDArray[Any]]:
        """The arrays that it consists of."""
        return [self.keys, self.starts, self.places, self.impacts]

    def _part(self, key: int) -> slice:
        place = int(np.searchsorted(self.keys, key))
        if place == len(self.keys) or self.keys[place] != key:
            return slice(0)
        return slice(int(self.starts[place]), int(self.starts[place + 1]))


def _pairs(words: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The key and the page of every pair of neighbours, page by page."""
    lengths = [len(one) for one in words]
    flat = np.fromiter(chain.from_iterable(words), dtype=np.int64, count=sum(lengths))
    places = np.repeat(np.arange(len(words)), lengths)
    same = places[1:] == places[:-1]
    return ((flat[:-1] << 32) + flat[1:])[same], places[1:][same]


def _changes(*columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of sorted columns that differ from the row before; the first one is among them."""
    differs = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return np.flatnonzero(np.concatenate([[len(columns[0]) > 0], differs])[: len(columns[0])])


def _rarity(holding: NDArray[np.int64], pages: int) -> NDArray[np.float64]:
    return np.log1p((pages - holding + 0.5) / (holding + 0.5))


def _share(
    counts: NDArray[np.int64], sizes: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.float64]:
    """BM25's count of a pair on a page: under 1, and less on a long page."""
    long = sizes / sizes.mean() if sizes.any() else sizes
    return counts / (counts + _K1 * (1 - _B + _B * long[places]))
