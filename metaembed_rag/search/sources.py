"""Where a search reads vectors: the mapped cache, or Chroma's records where none can be kept.

::

    query vectors -> the best rows and their scores (Found) -> ids and scores (Scored)

Out of the records the same pages come with the same scores, but slower, and candidates come from
Chroma's own nearest-neighbour search.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.hits import Spread
from metaembed_rag.search import cascade
from metaembed_rag.search.cascade import Found
from metaembed_rag.search.plan import Plan, QueryPlan
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.levels import CachedVectors
from metaembed_rag.store.records import Record
from metaembed_rag.vectors.formats import Encoded
from metaembed_rag.vectors.integers import maxsim_unrounded, quantize_queries
from metaembed_rag.vectors.tensors import TensorPages

_READ_AT_ONCE = 1000


@dataclass(frozen=True)
class Scored:
    """Pages of one query with their scores.

    Attributes:
        ids: The best pages, in order; equal scores are in the order of their ids.
        maxsim: Raw MaxSim sums by id, of these and maybe of more pages that were looked at.
        stages: Vectors a page and the pages that were scored with them, for each stage.
        fused: The score that ranks, by id, in [0, 1], where words took part; else None.
        bm25: BM25 by id, where words took part; else None.
        found: How much of the query's words each page has, by id, where words took part.
        words: What the plan says of the words.
        texts: Stamps of the texts whose words were counted, where words took part; else None.
        spread: Between what the scores lay that were fused, where words took part; else None.
    """

    ids: Sequence[str]
    maxsim: Mapping[str, float]
    stages: tuple[tuple[int, int], ...]
    fused: Mapping[str, float] | None = None
    bm25: Mapping[str, float] | None = None
    found: Mapping[str, float] | None = None
    words: str = ""
    texts: Collection[str] | None = None
    spread: Spread | None = None


class PageVectors(Protocol):
    """Where vectors come from, narrowed to the pages that pass a filter."""

    source: str
    """As :class:`metaembed_rag.hits.SearchPlan` names it."""

    def best(self, queries: NDArray[np.float32], plan: QueryPlan, k: int | None) -> list[Scored]:
        """The best ``k`` pages of each query, shape (queries, R_q, D); None for all of them."""

    def scores(
        self, query: NDArray[np.float32], ids: Sequence[str], budget: RetrievalBudget
    ) -> dict[str, float]:
        """Raw scores of those of ``ids`` that are stored, whether they pass the filter or not."""

    def stamps(self, ids: Sequence[str]) -> dict[str, str]:
        """By which request the vectors were written by which pages were scored, of these pages."""


class CachedPages:
    """Vectors of the mapped cache, without dead rows and pages that do not pass the filter.

    Args:
        vectors: The mapped vectors.
        ids: Of the pages that pass the filter; None for all pages.
        copied: Gives the same pages on the device that scores all of them; None where that is the
            processor. Asked only where all pages are scored.
    """

    def __init__(
        self,
        vectors: CachedVectors,
        ids: Sequence[str] | None,
        copied: Callable[[], TensorPages | None],
    ) -> None:
        self.source = "cache"
        self._vectors = vectors
        self._copied = copied
        self._rows: NDArray[np.int64] | None = None  # all
        if ids is not None:
            rows = vectors.rows(ids)
            self._rows = np.sort(rows[rows >= 0])
        elif vectors.pages < len(vectors):
            self._rows = np.flatnonzero(vectors.alive)

    def best(self, queries: NDArray[np.float32], plan: QueryPlan, k: int | None) -> list[Scored]:
        """See :class:`PageVectors`."""
        pages = len(self._vectors) if self._rows is None else len(self._rows)
        if not pages or not len(queries):
            return [Scored((), {}, ((plan.budget.r_c, 0),)) for _ in queries]
        k = pages if k is None else min(k, pages)
        stages, levels = plan.plan, self._vectors.levels(plan.budget.r_c)
        device = self._copied() if plan.way in ("cascade", "exhaustive") else None
        if device is not None:
            self.source = device.device
            stages = Plan(plan.budget)  # it reads faster than stages could spare
        if stages.stages:
            found = cascade.search(queries, levels, stages, k, allowed=self._rows, ties=True)
        else:
            found = cascade.search_exact(
                queries, levels, plan.budget, k, elsewhere=device, allowed=self._rows, ties=True
            )
        return [self._scored(one, stages, k) for one in found]

    def scores(
        self, query: NDArray[np.float32], ids: Sequence[str], budget: RetrievalBudget
    ) -> dict[str, float]:
        """See :class:`PageVectors`."""
        rows = self._vectors.rows(ids)
        there = rows >= 0
        if not there.any():
            return {}
        levels = self._vectors.levels(budget.r_c)
        raw = maxsim_unrounded(quantize_queries(query), levels, budget, rows[there])[0]
        known = [id for id, is_there in zip(ids, there, strict=True) if is_there]
        return dict(zip(known, raw.tolist(), strict=True))

    def stamps(self, ids: Sequence[str]) -> dict[str, str]:
        """See :class:`PageVectors`."""
        return dict(zip(ids, self._vectors.stamps(self._vectors.rows(ids)), strict=True))

    def _scored(self, found: Found, plan: Plan, k: int) -> Scored:
        scores = dict(zip(self._vectors.ids[found.rows], found.scores.tolist(), strict=True))
        stages = tuple(zip(plan.sizes, found.read, strict=False))
        return Scored(in_order(scores)[:k], scores, stages)


class StoredPages:
    """Vectors out of Chroma's records.

    Args:
        store: The records.
        where: A Chroma filter.
    """

    source = "chroma"

    def __init__(self, store: ChromaStore, where: Mapping[str, Any] | None) -> None:
        self._store = store
        self._where = where
        self._stamps: dict[str, str] = {}

    def best(self, queries: NDArray[np.float32], plan: QueryPlan, k: int | None) -> list[Scored]:
        """See :class:`PageVectors`."""
        return [self._best(query, plan, k) for query in queries]

    def scores(
        self, query: NDArray[np.float32], ids: Sequence[str], budget: RetrievalBudget
    ) -> dict[str, float]:
        """See :class:`PageVectors`."""
        found = self._store.get(ids)
        self._stamps |= {id: record.stamp for id, record in found.items()}
        return self._scores(query, list(found.values()), budget)

    def stamps(self, ids: Sequence[str]) -> dict[str, str]:
        """See :class:`PageVectors`."""
        return {id: self._stamps[id] for id in ids if id in self._stamps}

    def _best(self, query: NDArray[np.float32], plan: QueryPlan, k: int | None) -> Scored:
        best: dict[str, float] = {}
        stamps: dict[str, str] = {}
        looked_at = 0
        for group in self._groups(query, plan):
            looked_at += len(group)
            best |= self._scores(query, group, plan.budget)
            best = {id: best[id] for id in in_order(best)[:k]}
            stamps |= {record.page.id: record.stamp for record in group}
            stamps = {id: stamps[id] for id in best}
        self._stamps |= stamps
        return Scored(tuple(best), best, ((plan.budget.r_c, looked_at),))

    def _groups(self, query: NDArray[np.float32], plan: QueryPlan) -> Iterator[list[Record]]:
        """Candidates, or every page, some at a time, so that memory stays bounded."""
        if plan.candidates is not None:
            yield self._store.candidates(query[0], plan.candidates, self._where)
            return
        ids = self._store.ids(self._where)
        for start in range(0, len(ids), _READ_AT_ONCE):
            yield list(self._store.get(ids[start : start + _READ_AT_ONCE]).values())

    def _scores(
        self, query: NDArray[np.float32], group: Sequence[Record], budget: RetrievalBudget
    ) -> dict[str, float]:
        if not group:
            return {}
        pages = self._store.about.unpack(group, budget.r_c)
        ids = [record.page.id for record in group]
        return dict(zip(ids, scores_of(query, pages, budget).tolist(), strict=True))


def scores_of(
    query: NDArray[np.float32], pages: Encoded, budget: RetrievalBudget
) -> NDArray[np.float32]:
    """Raw scores of a few pages by their encoded vectors, as every other way scores them.

    Args:
        query: float32 unit vectors, shape (R_q, D).
        pages: Their vectors, shape (pages, R, …) with R at least the budget's r_c.
        budget: The vectors that take part.

    Returns:
        float32 sums, shape (pages,).
    """
    rows, levels = np.arange(len(pages)), [pages.first(budget.r_c)]
    scores: NDArray[np.float32] = maxsim_unrounded(quantize_queries(query), levels, budget, rows)[0]
    return scores


def in_order(scores: Mapping[str, float]) -> list[str]:
    """Ids, best score first, equal scores in the order of their ids."""
    return sorted(scores, key=lambda id: (-scores[id], id))


def shown_score(raw: float, budget: RetrievalBudget) -> float:
    """MaxSim / r_q in [-1, 1]: rounding can take a perfect match a little past 1."""
    return min(1.0, max(-1.0, raw / budget.r_q))
