"""One score from two: MaxSim, which knows meaning, and BM25, which knows words.

Both ways look at each score against the other pages of the same query, because MaxSim lies in
[-r_q, r_q] while BM25 has no upper bound, and neither scale says how sure it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

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


def weighed(fusion: Fusion, best: float, most: float) -> Fusion:
    """The fusion for one query: words count less where no page has much of what was asked.

    BM25 is then measured by what the query's words could give instead of by its best page, so the
    odds of its weight are multiplied by 3/2 · best / most. A title that stands on a page keeps its
    words' weight; a question in other words than the page's is left to the vectors
    (``benchmarks/quality/fusion.py``, "bound").

    Args:
        fusion: With the weight of a query all of whose words are on a page.
        best: BM25 of the page that has the most of it, over 0.
        most: :meth:`metaembed_rag.search.words.LexicalIndex.most` of the query.
    """
    odds = fusion.weight / (1 - fusion.weight) * 1.5 * best / most
    return replace(fusion, weight=odds / (1 + odds))


def described(fusion: Fusion) -> str:
    """The fusion in a few words, for :attr:`metaembed_rag.hits.SearchPlan.words`."""
    if fusion.name == "rrf":
        return "vectors and words (BM25) by reciprocal rank"
    return f"vectors and words (BM25, which counts {fusion.weight:.2g})"


def _share(scores: Scores, low: float) -> NDArray[np.float64]:
    """Scores between ``low`` (0) and the highest (1); all 0 where they do not differ."""
    exact = np.asarray(scores, dtype=np.float64)
    width = exact.max(initial=low) - low
    return (exact - low) / width if width > 0 else np.zeros(len(exact))


def _ranks(scores: Scores) -> NDArray[np.int64]:
    """Places from 1 for the highest score; equal scores share the best of their places."""
    return np.searchsorted(np.sort(-scores), -scores, side="left") + 1
