"""One score from two: MaxSim, which knows meaning, and BM25, which knows words.

Both ways look at each score against the other pages of the same query, because MaxSim lies in
[-r_q, r_q] while BM25 has no upper bound, and neither scale says how sure it is.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.hits import Spread
from metaembed_rag.options import Fusion

Scores = NDArray[np.float32] | NDArray[np.float64]

_RRF_K = 60
"""The constant of the paper; results hardly change between 20 and 100."""


def fuse(fusion: Fusion, maxsim: Scores, bm25: Scores) -> NDArray[np.float64]:
    """Fuse the scores of one query's pages.

    Args:
        fusion: How; :class:`metaembed_rag.options.Fusion` has the formulas and their sources.
        maxsim: Shape (pages,); raw sums or divided by r_q, which makes no difference.
        bm25: Shape (pages,), at least 0; 0 where a page has none of the words.

    Returns:
        Shape (pages,), in [0, 1]. A page that is best in both has 1.
    """
    if fusion.name == "rrf":
        found = np.where(bm25 > 0, 1 / (_RRF_K + _ranks(bm25)), 0)
        return (1 / (_RRF_K + _ranks(maxsim)) + found) * (_RRF_K + 1) / 2
    words = _share(bm25, 0.0)
    meaning = _share(maxsim, float(maxsim.min()) if len(maxsim) else 0.0)
    return (1 - fusion.weight) * meaning + fusion.weight * words


def weighed(most: float) -> Fusion:
    """The fusion for one query: words count as much as of it is found.

    With ``most`` as the highest of the shares that are fused with MaxSim, the fused scores are
    (MaxSim from 0 to 1 + shares) / (1 + most). A title that stands on a page is left to the words,
    a question in other words than the page's to the vectors.

    Args:
        most: :meth:`metaembed_rag.search.words.WordScores.most_found`, over 0.
    """
    return Fusion(weight=most / (1 + most))


def described(fusion: Fusion) -> str:
    """The fusion in a few words, for :attr:`metaembed_rag.hits.SearchPlan.words`."""
    if fusion.name == "rrf":
        return "vectors and words (BM25) by reciprocal rank"
    return f"vectors and words (BM25, which counts {fusion.weight:.2g})"


def spread_of(
    maxsim: Iterable[float], bm25: Scores, found: Scores, most: float, budget: RetrievalBudget
) -> Spread:
    """Between what the scores of the pages of one query lie that are fused.

    Args:
        maxsim: Raw sums of pages.
        bm25: Of the pages, shape (pages,).
        found: How much of the query's words each has, shape (pages,).
        most: The most that any page has that may be found.
        budget: Of the sums.
    """
    raw = list(maxsim) or [0.0]
    highest, share = (float(one.max(initial=0.0)) for one in (bm25, found))
    return Spread(min(raw) / budget.r_q, max(raw) / budget.r_q, highest, share, most)


def _share(scores: Scores, low: float) -> NDArray[np.float64]:
    """Scores between ``low`` (0) and the highest (1); all 0 where they do not differ."""
    exact = np.asarray(scores, dtype=np.float64)
    width = exact.max(initial=low) - low
    return (exact - low) / width if width > 0 else np.zeros(len(exact))


def _ranks(scores: Scores) -> NDArray[np.int64]:
    """Places from 1 for the highest score; equal scores share the best of their places."""
    return np.searchsorted(np.sort(-scores), -scores, side="left") + 1
