"""Finding pages by their vectors: all of them coarsely, fewer and fewer finely, the best k whole.

::

    query vectors -> ids and scores, from the mapped cache -> records of the k best, from Chroma

Where no cache can be kept, vectors come out of Chroma's records: the same answers, but slower, and
candidates by its nearest-neighbour search.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import BudgetLike, RetrievalBudget, is_auto
from metaembed_rag.errors import BudgetError, CacheError, IndexLockedError, StoreError
from metaembed_rag.hits import SearchPlan
from metaembed_rag.search import cascade
from metaembed_rag.search.cascade import Found, Plan
from metaembed_rag.search.fusion import Fusion, HybridLike
from metaembed_rag.search.words import LexicalCache, WordScores
from metaembed_rag.store import records
from metaembed_rag.store.cache import VectorCache
from metaembed_rag.store.changes import Change
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.levels import CachedVectors
from metaembed_rag.store.records import Record
from metaembed_rag.vectors.integers import maxsim_unrounded, quantize_queries
from metaembed_rag.vectors.maxsim import maxsim, maxsim_quantized
from metaembed_rag.vectors.tensors import CPU, TensorPages

CANDIDATES = 200
"""Pages that a hybrid search pools of each kind, and Chroma's search hands over without a cache."""

_TRIES = 3
"""Of a search whose pages were deleted before their records could be read."""

_READ_AT_ONCE = 1000

_log = logging.getLogger(__name__)


def check_k(k: int) -> None:
    """Refuse a ``k`` that is no number of hits.

    Raises:
        StoreError: It is no whole number of at least 1.
    """
    if not isinstance(k, int) or k < 1:
        raise StoreError(f"k must be a whole number of at least 1, not {k!r}")


@dataclass(frozen=True)
class Options:
    """What a caller of a search asks for; :meth:`metaembed_rag.PageIndex.search` explains each.

    Raises:
        StoreError: ``k`` is no number of hits, or more than ``candidates``.
        BudgetError: Options that exclude each other.
    """

    k: int
    budget: BudgetLike | None = None
    candidates: int | None = None
    where: Mapping[str, Any] | None = None
    exhaustive: bool = False
    hybrid: HybridLike = False
    max_ms: float | None = None
    min_recall: float | None = None

    def __post_init__(self) -> None:
        check_k(self.k)
        if self.candidates is not None and self.candidates < self.k:
            raise StoreError(f"candidates ({self.candidates}) must be at least k ({self.k})")
        if self._limited and not self.is_auto:
            raise BudgetError(
                'max_ms and min_recall choose the budget: ask for "auto", or leave them out'
            )
        if self._chosen and (self.candidates or self.exhaustive):
            raise BudgetError(
                'the budget "auto" chooses how many pages are scored: leave out candidates and '
                "exhaustive, or name a budget"
            )

    @property
    def is_auto(self) -> bool:
        """Whether the calibration is to choose."""
        by_default = self.budget is None and is_auto(None)
        return self._chosen or (by_default and not self.candidates and not self.exhaustive)

    @property
    def _limited(self) -> bool:
        return self.max_ms is not None or self.min_recall is not None

    @property
    def _chosen(self) -> bool:
        """Whether this very search, and not the environment, asks for it."""
        return self._limited if self.budget is None else is_auto(self.budget)


@dataclass(frozen=True)
class Way:
    """How to search.

    Attributes:
        kind: What :class:`metaembed_rag.hits.SearchPlan` calls it.
        plan: Stages and budget; without stages every page is scored, and the top k exact.
        k: Hits wanted.
        candidates: Pages that Chroma hands over where there is no cache; None for all pages.
        where: A Chroma filter.
        fusion: How words count; None where they do not.
        note: What is doubtful about a calibrated plan.
    """

    kind: str
    plan: Plan
    k: int
    candidates: int | None = None
    where: Mapping[str, Any] | None = None
    fusion: Fusion | None = None
    note: str = ""

    @property
    def pool(self) -> int | None:
        """Pages of each kind that a hybrid search looks at; None for all."""
        if self.kind == "exhaustive":
            return None
        return self.candidates or max(CANDIDATES, 4 * self.k)

    def described(self, stages: tuple[tuple[int, int], ...], source: str) -> SearchPlan:
        """For the hits."""
        auto = self.kind == "auto"
        recall, ms = (self.plan.recall, self.plan.ms) if auto else (None, None)
        return SearchPlan(self.kind, stages, source, recall, ms, self.note)


@dataclass(frozen=True)
class Pool:
    """Pages of one query with their raw scores, best first, ties by id.

    Attributes:
        scores: By id.
        stages: What :class:`metaembed_rag.hits.SearchPlan` says of them.
    """

    scores: dict[str, float]
    stages: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Ranked:
    """A page that was found.

    Attributes:
        record: Its record.
        maxsim: The raw sum.
        fused: Of a hybrid search.
        bm25: Of a hybrid search.
    """

    record: Record
    maxsim: float
    fused: float | None = None
    bm25: float | None = None


@dataclass(frozen=True)
class Answer:
    """What one query found, best first, and how; ``scoring`` as :class:`Hits` has it."""

    ranked: list[Ranked]
    plan: SearchPlan
    scoring: str


class PageVectors(Protocol):
    """Where vectors come from, narrowed to the pages that pass a filter."""

    source: str

    def best(self, queries: NDArray[np.float32], way: Way, k: int | None) -> list[Pool]:
        """The best ``k`` pages of each query, shape (queries, R_q, D); None for all of them."""

    def scores(
        self, query: NDArray[np.float32], ids: Sequence[str], budget: RetrievalBudget
    ) -> dict[str, float]:
        """Raw scores of those of ``ids`` that are stored, whether they pass the filter or not."""


class PageSearcher:
    """Searches one store.

    Args:
        store: The records.
        lexical: Their words, for hybrid searches.
        device: Says where searches that score all pages are to do so.
    """

    def __init__(
        self, store: ChromaStore, lexical: LexicalCache, device: Callable[[], str] = lambda: CPU
    ) -> None:
        self._store = store
        self._lexical = lexical
        self._device = device
        self._copy: tuple[CachedVectors, TensorPages | None] | None = None
        self._cache: VectorCache | None = None
        self._opening = threading.Lock()
        self._without = False

    def vectors(self) -> CachedVectors | None:
        """The mapped vectors as the store is now; None where no cache can be kept."""
        return self._of_cache(VectorCache.current)

    def apply(self, changes: Sequence[Change]) -> bool:
        """Bring the mapped vectors up to date, so that the next search need not.

        Args:
            changes: What a writer has done since, in order; the writer lock is still held.

        Returns:
            Whether more changes are of use; else the next search finds out by itself.
        """
        try:
            return self._of_cache(lambda cache: cache.apply(changes)) is not None
        except IndexLockedError as error:  # the pages are stored, and their report is owed
            _log.warning("the next search brings the vector cache up to date: %s", error)
            return False

    def _of_cache(self, ask: Callable[[VectorCache], CachedVectors]) -> CachedVectors | None:
        if self._without:
            return None
        try:
            with self._opening:
                self._cache = self._cache or VectorCache.open(self._store)
            return ask(self._cache)
        except CacheError as error:
            self._without = True  # trying again would read every record again
            _log.warning("searching without the vector cache, which is slower: %s", error)
            return None

    def leave_cache(self) -> None:
        """Search without the cache from now on, as where none can be kept."""
        self._without = True

    def search(self, queries: NDArray[np.float32], texts: Sequence[str], way: Way) -> list[Answer]:
        """The best pages of each query.

        Args:
            queries: float32 unit vectors, shape (queries, R_q, D).
            texts: The words of each query; ``""`` for none.
            way: How.
        """
        for attempt in range(_TRIES):
            pools, source = self._pools(queries, texts, way)
            found = self._store.get([id for pool in pools for id in pool.best])
            gone = any(id not in found for pool in pools for id in pool.best)
            if not gone or attempt == _TRIES - 1:  # else somebody deleted them meanwhile
                break
        return [
            Answer(pool.ranked(found), way.described(pool.stages, source), pool.scoring)
            for pool in pools
        ]

    def score(
        self, query: NDArray[np.float32], ids: Sequence[str], budget: RetrievalBudget
    ) -> list[Ranked]:
        """Those of ``ids`` that are stored, best first."""
        scores = self._source(None).scores(query, list(dict.fromkeys(ids)), budget)
        found = self._store.get(list(scores))
        return [Ranked(found[id], scores[id]) for id in _in_order(scores) if id in found]

    def _pools(
        self, queries: NDArray[np.float32], texts: Sequence[str], way: Way
    ) -> tuple[list[_Chosen], str]:
        source = self._source(way.where)
        worded = [way.fusion is not None and bool(text.strip()) for text in texts]
        plain = iter(source.best(queries[~np.array(worded, dtype=bool)], way, way.k))
        chosen = [
            self._hybrid(source, query, text, way) if has_words else _Chosen.of(next(plain))
            for query, text, has_words in zip(queries, texts, worded, strict=True)
        ]
        return chosen, source.source

    def _hybrid(
        self, source: PageVectors, query: NDArray[np.float32], text: str, way: Way
    ) -> _Chosen:
        """The pages that are near, and those that have the words, by both."""
        assert way.fusion is not None
        [pool] = source.best(query[None], way, way.pool)
        words = self._words(text, way.where)
        wanted = [] if way.pool is None else words.best(way.pool)
        more = [id for id in wanted if id not in pool.scores]
        scores = pool.scores | source.scores(query, more, way.plan.budget)
        ids = list(scores)
        bm25 = dict(zip(ids, words.of(ids).tolist(), strict=True))
        both = (np.array([one[id] for id in ids]) for one in (scores, bm25))
        fused = dict(zip(ids, way.fusion.scores(*both).tolist(), strict=True))
        best = heapq.nsmallest(way.k, ids, key=lambda id: (-fused[id], id))
        return _Chosen("hybrid", best, scores, pool.stages, fused, bm25)

    def _words(self, text: str, where: Mapping[str, Any] | None) -> WordScores:
        """BM25 of the pages that match the filter."""
        words = self._lexical.current().search(text)
        return words.only(self._store.ids(where)) if where else words

    def _source(self, where: Mapping[str, Any] | None) -> PageVectors:
        vectors = self.vectors()
        if vectors is None:
            return _FromRecords(self._store, where)
        ids = self._store.ids(where) if where else None
        return _FromCache(vectors, ids, lambda: self._elsewhere(vectors))

    def _elsewhere(self, vectors: CachedVectors) -> TensorPages | None:
        """The pages on the device that scores them; copied again when there are others."""
        device = self._device()
        if device == CPU or not vectors.format.scaled or not len(vectors):
            return None
        with self._opening:
            if self._copy is None or self._copy[0] is not vectors:
                self._copy = None  # before the next one takes its memory
                levels = vectors.levels(vectors.header.vectors)
                self._copy = (vectors, TensorPages.copied(levels, device))
            return self._copy[1]


@dataclass(frozen=True)
class _Chosen:
    """Ids of the best pages of a query, and the scores of all that were looked at."""

    scoring: str
    best: list[str]
    scores: Mapping[str, float]
    stages: tuple[tuple[int, int], ...]
    fused: Mapping[str, float] = field(default_factory=dict)
    bm25: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, pool: Pool) -> _Chosen:
        """All of a pool, by its own scores."""
        return cls("maxsim", list(pool.scores), pool.scores, pool.stages)

    def ranked(self, found: Mapping[str, Record]) -> list[Ranked]:
        """Those that are still stored."""
        return [
            Ranked(found[id], self.scores[id], self.fused.get(id), self.bm25.get(id))
            for id in self.best
            if id in found
        ]


class _FromCache:
    """Mapped vectors, dead rows and pages that do not pass the filter left out."""

    def __init__(
        self,
        vectors: CachedVectors,
        ids: Sequence[str] | None,
        elsewhere: Callable[[], TensorPages | None],
    ) -> None:
        self.source = "cache"
        self._vectors = vectors
        self._elsewhere = elsewhere
        self._rows: NDArray[np.int64] | None = None  # all
        if ids is not None:
            rows = vectors.rows(ids)
            self._rows = np.sort(rows[rows >= 0])
        elif vectors.pages < len(vectors):
            self._rows = np.flatnonzero(vectors.alive)

    def best(self, queries: NDArray[np.float32], way: Way, k: int | None) -> list[Pool]:
        """See :class:`PageVectors`."""
        pages = len(self._vectors) if self._rows is None else len(self._rows)
        if not pages or not len(queries):
            return [Pool({}, ((way.plan.budget.r_c, 0),)) for _ in queries]
        k = pages if k is None else min(k, pages)
        plan, levels = way.plan, self._vectors.levels(way.plan.budget.r_c)
        at = self._elsewhere() if way.kind in ("cascade", "exhaustive") else None
        if at is not None:
            self.source = at.device
            plan = Plan(plan.budget)  # it reads faster than stages could spare
        if plan.stages:
            found = cascade.search(queries, levels, plan, k, allowed=self._rows, ties=True)
        else:
            found = cascade.search_exact(
                queries, levels, plan, k, elsewhere=at, allowed=self._rows, ties=True
            )
        return [self._pool(one, plan, k) for one in found]

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

    def _pool(self, found: Found, plan: Plan, k: int) -> Pool:
        scores = dict(zip(self._vectors.ids[found.rows], found.scores.tolist(), strict=True))
        sizes = [*(stage.r_c for stage in plan.stages), plan.budget.r_c]
        stages = tuple(zip(sizes, found.read, strict=False))
        return Pool({id: scores[id] for id in _in_order(scores)[:k]}, stages)


class _FromRecords:
    """Vectors out of Chroma's records."""

    source = "chroma"

    def __init__(self, store: ChromaStore, where: Mapping[str, Any] | None) -> None:
        self._store = store
        self._where = where

    def best(self, queries: NDArray[np.float32], way: Way, k: int | None) -> list[Pool]:
        """See :class:`PageVectors`."""
        return [self._best(query, way, k) for query in queries]

    def scores(
        self, query: NDArray[np.float32], ids: Sequence[str], budget: RetrievalBudget
    ) -> dict[str, float]:
        """See :class:`PageVectors`."""
        return self._scored(query, list(self._store.get(ids).values()), budget)

    def _best(self, query: NDArray[np.float32], way: Way, k: int | None) -> Pool:
        best: dict[str, float] = {}
        looked_at = 0
        for group in self._groups(query, way):
            looked_at += len(group)
            best |= self._scored(query, group, way.plan.budget)
            best = {id: best[id] for id in _in_order(best)[:k]}
        return Pool(best, ((way.plan.budget.r_c, looked_at),))

    def _groups(self, query: NDArray[np.float32], way: Way) -> Iterator[list[Record]]:
        """Candidates, or every page, some at a time, so that memory stays bounded."""
        if way.candidates is not None:
            yield self._store.candidates(query[0], way.candidates, self._where)
            return
        ids = self._store.ids(self._where)
        for start in range(0, len(ids), _READ_AT_ONCE):
            yield list(self._store.get(ids[start : start + _READ_AT_ONCE]).values())

    def _scored(
        self, query: NDArray[np.float32], group: Sequence[Record], budget: RetrievalBudget
    ) -> dict[str, float]:
        if not group:
            return {}
        about = self._store.about
        pages = records.unpack_vectors(group, about.dimension, budget.r_c, about.format)
        if pages.format.scaled:
            raw = maxsim_quantized(query, pages.as_int8(), budget)
        else:
            raw = maxsim(query, pages.decode(), budget)
        ids = [record.page.id for record in group]
        return dict(zip(ids, raw.tolist(), strict=True))


def _in_order(scores: Mapping[str, float]) -> list[str]:
    """Ids, best first, ties by id."""
    return sorted(scores, key=lambda id: (-scores[id], id))
