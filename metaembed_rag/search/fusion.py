"""One score from two: MaxSim, which knows meaning, and BM25, which knows words.

Both ways look at each score against the other pages of the same query, because MaxSim lies in
[-r_q, r_q] while BM25 has no upper bound, and neither scale says how sure it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import StoreError

FusionName = Literal["minmax", "rrf"]

Scores = NDArray[np.float32] | NDArray[np.float64]

_RRF_K = 60
"""The constant of the paper; results hardly change between 20 and 100."""


@dataclass(frozen=True)
class Fusion:
    """How MaxSim and BM25 become one score in [0, 1].

    ``minmax`` is a convex combination: MaxSim scaled so that the worst page of the query counts 0
    and the best 1, BM25 divided by its best (0 stays 0: the page has none of the words). It keeps
    how far apart pages are, and gave the better ranking on every set of ``docs/hybrid.md``
    (Bruch, Gai and Ingber, TOIS 2023, found the same).

    ``rrf`` is reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009):
    Σ 1 / (60 + rank), here divided by its largest value. It needs no weight and trusts both
    equally, however far apart the scores are.

    Args:
        name: ``minmax`` or ``rrf``.
        weight: What BM25 counts in ``minmax``, over 0 and under 1; MaxSim counts the rest. The
            default was chosen for the shipped ``mini`` on development data, together with
            :data:`metaembed_rag.search.words.PAIR_WEIGHT`.

    Raises:
        StoreError: Another name or weight.
    """

    name: FusionName = "minmax"
    weight: float = 0.6

    def __post_init__(self) -> None:
        if self.name not in get_args(FusionName) or not 0 < self.weight < 1:
            raise StoreError(f"{self.name!r} with the weight {self.weight!r}: {_HOW}")

    @classmethod
    def parse(cls, hybrid: HybridLike) -> Fusion | None:
        """Read a search's ``hybrid``: off, on, a name, or BM25's weight.

        Raises:
            StoreError: It is none of these.
        """
        if hybrid is None or hybrid is False:
            return None
        if hybrid is True:
            return cls()
        if isinstance(hybrid, Fusion):
            return hybrid
        if isinstance(hybrid, str) and hybrid in get_args(FusionName):
            return cls(hybrid)  # type: ignore[arg-type]
        if isinstance(hybrid, float):
            return cls(weight=hybrid)
        raise StoreError(f"hybrid is {hybrid!r}: {_HOW}")

    def scores(self, maxsim: Scores, bm25: Scores) -> NDArray[np.float64]:
        """Fuse the scores of one query's pages.

        Args:
            maxsim: Shape (pages,); raw sums or divided by r_q, which makes no difference.
            bm25: Shape (pages,), at least 0; 0 where a page has none of the words.

        Returns:
            Shape (pages,), in [0, 1]. A page that is best in both has 1.
        """
        if self.name == "rrf":
            found = np.where(bm25 > 0, 1 / (_RRF_K + _ranks(bm25)), 0)
            return (1 / (_RRF_K + _ranks(maxsim)) + found) * (_RRF_K + 1) / 2
        words = _share(bm25, 0.0)
        meaning = _share(maxsim, float(maxsim.min()) if len(maxsim) else 0.0)
        return (1 - self.weight) * meaning + self.weight * words


HybridLike = bool | float | str | Fusion | None
"""What :meth:`Fusion.parse` takes."""

_HOW = 'hybrid is True, "minmax", "rrf", or the weight of words as a number over 0 and under 1'


def _share(scores: Scores, low: float) -> NDArray[np.float64]:
    """Scores between ``low`` (0) and the highest (1); all 0 where they do not differ."""
    exact = np.asarray(scores, dtype=np.float64)
    width = exact.max(initial=low) - low
    return (exact - low) / width if width > 0 else np.zeros(len(exact))


def _ranks(scores: Scores) -> NDArray[np.int64]:
    """Places from 1 for the highest score; equal scores share the best of their places."""
    return np.searchsorted(np.sort(-scores), -scores, side="left") + 1
