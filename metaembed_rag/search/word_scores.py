"""What a lexical index finds for one query: BM25 of pages, and how much of the query each has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


class WordScores:
    """BM25 of pages for one query.

    Args:
        places: Place of each page in ``scores``, by id.
        ids: Ids by place.
        scores: float32 of shape (pages,), at least 0.
        found: How much of the query each has, float32 of shape (pages,), in [0, 3).
        stamps: Of the requests that wrote the texts.
    """

    def __init__(
        self,
        places: Mapping[str, int],
        ids: Sequence[str],
        scores: NDArray[np.float32],
        found: NDArray[np.float32],
        stamps: Collection[str] = (),
    ) -> None:
        self.stamps = stamps
        self._places = places
        self._ids = ids
        self._scores = scores
        self._found = found

    def only(self, ids: Iterable[str]) -> WordScores:
        """The scores of these pages, 0 for every other."""
        places = [self._places[id] for id in ids if id in self._places]
        kept = np.zeros((2, len(self._scores)), dtype=np.float32)
        kept[:, places] = self._scores[places], self._found[places]
        return WordScores(self._places, self._ids, kept[0], kept[1], self.stamps)

    def highest(self) -> float:
        """The score of the best page; 0 without pages."""
        return float(self._scores.max(initial=0.0))

    def most_found(self) -> float:
        """How much of the query the page has that has most of it; 0 without pages."""
        return float(self._found.max(initial=0.0))

    def best(self, count: int) -> list[str]:
        """At most ``count`` pages that have a word of the query, best first, ties in order."""
        if count < len(self._scores):
            least = np.partition(self._scores, -count)[-count]
            kept = np.flatnonzero((self._scores >= least) & (self._scores > 0))
        else:
            kept = np.flatnonzero(self._scores)
        order = kept[np.argsort(-self._scores[kept], kind="stable")][:count]
        return [self._ids[place] for place in order]

    def of(self, ids: Iterable[str]) -> NDArray[np.float32]:
        """The score of each of these pages, 0 for one that is not known; shape (ids,)."""
        return self._values(self._scores, ids)

    def found_on(self, ids: Iterable[str]) -> NDArray[np.float32]:
        """How much of the query each of these pages has; shape (ids,)."""
        return self._values(self._found, ids)

    def _values(self, of: NDArray[np.float32], ids: Iterable[str]) -> NDArray[np.float32]:
        places = (self._places.get(id) for id in ids)
        values = [0.0 if place is None else of[place] for place in places]
        return np.array(values, dtype=np.float32)
