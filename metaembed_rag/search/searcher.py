"""Searching one store: sources give scored pages, words may join in, records make them hits.

::

    QueryPlan + query vectors -> Scored (ids, scores), from a source -> Hit, with Chroma's records
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import CacheError, DamagedCacheError, IndexLockedError, MissingExtraError
from metaembed_rag.hits import Hit, Hits, SearchPlan
from metaembed_rag.options import Fusion
from metaembed_rag.pages import Page
from metaembed_rag.search.confidence import Unrelated, check_measured, confidence_of, sure_enough
from metaembed_rag.search.fusion import described, fuse, spread_of, weighed
from metaembed_rag.search.lexical_cache import LexicalCache
from metaembed_rag.search.plan import QueryPlan
from metaembed_rag.search.sources import (
    CachedPages,
    PageVectors,
    Scored,
    StoredPages,
    in_order,
    scores_of,
    shown_score,
)
from metaembed_rag.search.word_scores import WordScores
from metaembed_rag.store.cache import VectorCache
from metaembed_rag.store.changes import Change
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.levels import CachedVectors
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.store.records import Record
from metaembed_rag.store.unmatched import told_unmatched
from metaembed_rag.vectors.formats import Encoded
from metaembed_rag.vectors.tensors import CPU, TensorPages

_TRIES = 3
"""Of a search whose pages were deleted before their records could be read."""
NO_TEXT = "vectors alone: the query has no text"
NO_WORD = "vectors alone: no page that may be found has a word of the query"
NOT_TIMED = "vectors alone: max_ms was measured for them"
"""Why words do not count, as :attr:`metaembed_rag.hits.SearchPlan.words` has it."""
_AWAY = 60.0
"""Seconds after which a vector cache that was locked is looked at again."""

_Answer = TypeVar("_Answer")

_log = logging.getLogger(__name__)


class PageSearcher:
    """Searches one store.

    Args:
        store: The records.
        lexical: Their words, for hybrid searches.
        pictures: Their pictures.
        device: Says where searches that score all pages are to do so.
        unrelated: What unrelated questions score, where it is known, for the confidence of hits.
    """

    def __init__(
        self,
        store: ChromaStore,
        lexical: LexicalCache,
        pictures: PictureFolder,
        device: Callable[[], str] = lambda: CPU,
        unrelated: Callable[[], Unrelated | None] = lambda: None,
    ) -> None:
        self._store = store
        self._lexical = lexical
        self._pictures = pictures
        self._device = device
        self._unrelated = unrelated
        self._copy: tuple[CachedVectors, TensorPages | None] | None = None
        self._cache: VectorCache | None = None
        self._opening = threading.Lock()
        self._without = False
        self._locked_until = 0.0

    def vectors(self) -> CachedVectors | None:
        """The mapped vectors as the store is now; None where no cache can be kept or waited for."""
        if time.monotonic() < self._locked_until:
            return None
        try:
            return self._of_cache(VectorCache.current)
        except IndexLockedError as error:
            self._locked_until = time.monotonic() + _AWAY
            _log.warning("searching without the vector cache for now, which is slower: %s", error)
            return None

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

    def renew(self) -> None:
        """Free the mapped vectors' files of pages that are gone."""
        self._of_cache(VectorCache.renew)

    def close(self) -> None:
        """Let the mapped vectors go, their copy on a device and the words."""
        with self._opening:
            self._copy = None
            if self._cache is not None:
                self._cache.close()
        self._lexical.close()

    def _of_cache(self, ask: Callable[[VectorCache], CachedVectors]) -> CachedVectors | None:
        self._store.check_open()
        if self._without:
            return None
        try:
            with self._opening:
                self._cache = self._cache or VectorCache(self._store)
            return ask(self._cache)
        except CacheError as error:
            self._without = True  # trying again would read every record again
            _log.warning("searching without the vector cache, which is slower: %s", error)
            return None

    def mended(self, ask: Callable[[], _Answer]) -> _Answer:
        """What is answered out of the mapped vectors; asked again with others where they are
        damaged, and at last out of the records.
        """
        for _ in range(_TRIES):
            try:
                return ask()
            except DamagedCacheError as error:
                if self._cache is not None:
                    self._cache.discard(error)
        self._without = True
        _log.warning("searching without the vector cache, which is slower: it is damaged each time")
        return ask()

    def search(
        self, queries: NDArray[np.float32], texts: Sequence[str], plan: QueryPlan
    ) -> list[Hits]:
        """The best pages of each query, with its share of the time.

        Args:
            queries: float32 unit vectors, shape (queries, R_q, D).
            texts: The words of each query; ``""`` for none.
            plan: How the pages are scored, and how many are wanted.

        Raises:
            BudgetError: A confidence is asked for, and nobody has calibrated.
        """
        start = time.perf_counter()
        scale, least = self._unrelated(), plan.options.min_confidence
        check_measured(scale, least)
        scored, found, source = self._whole(queries, texts, plan)
        where = plan.options.where
        is_unmatched = where is not None and not any(one.ids for one in scored)
        note = told_unmatched(self._store, where) if is_unmatched else ""
        hits = [sure_enough(self._hits(one, found, plan.budget, scale), least) for one in scored]
        seconds = (time.perf_counter() - start) / max(1, len(hits))
        answers = []
        for one, (best, unsure) in zip(scored, hits, strict=True):
            scoring = "maxsim" if one.fused is None else "hybrid"
            how = plan.report(one.stages, source, one.words)
            answer = Hits(best, None, plan.budget, seconds, scoring, how, note or unsure)
            answer.spread = one.spread
            answers.append(answer)
        return answers

    def _whole(
        self, queries: NDArray[np.float32], texts: Sequence[str], plan: QueryPlan
    ) -> tuple[list[Scored], dict[str, Record], str]:
        """The best pages of each query with their records, each of the version that was scored."""
        for attempt in itertools.count(1):
            known = len(self._store.unreadable)
            scored, source = self.mended(lambda: self._scored(queries, texts, plan))
            wanted = [id for one in scored for id in one.ids]
            found = self._store.get(wanted, vectors=attempt >= _TRIES)  # then _corrected needs them
            # Somebody may have deleted or replaced pages meanwhile; and of those that turn out to
            # be damaged others take the places.
            gone = any(id not in found for one in scored for id in one.ids)
            mixed = any(_other_version(one, source, found) for one in scored)
            damaged = len(self._store.unreadable) > known
            if not damaged and (not (gone or mixed) or attempt >= _TRIES):
                break
        if mixed:
            pairs = zip(queries, scored, strict=True)
            scored = [self._corrected(q, one, source, found, plan) for q, one in pairs]
        return scored, found, source.source

    def _corrected(
        self,
        query: NDArray[np.float32],
        scored: Scored,
        source: PageVectors,
        found: Mapping[str, Record],
        plan: QueryPlan,
    ) -> Scored:
        """Pages that somebody replaces all the time, scored as they were read at last.

        One that is worse now than the worst hit was is left out, and where words took part each.
        """
        other = _other_version(scored, source, found)
        if scored.fused is not None:
            return replace(scored, ids=[id for id in scored.ids if id not in other])
        maxsim = {**scored.maxsim, **self._scored_anew(query, other, found, plan.budget)}
        worst = min(scored.maxsim[id] for id in scored.ids)
        least = worst if len(scored.ids) >= plan.k else -math.inf
        ids = in_order({id: maxsim[id] for id in scored.ids if maxsim[id] >= least})
        return replace(scored, ids=ids, maxsim=maxsim)

    def _scored_anew(
        self,
        query: NDArray[np.float32],
        ids: Sequence[str],
        found: Mapping[str, Record],
        budget: RetrievalBudget,
    ) -> dict[str, float]:
        """Raw scores by the vectors of the records themselves."""
        if not ids:
            return {}
        pages = self._store.about.unpack([found[id] for id in ids], budget.r_c)
        return dict(zip(ids, scores_of(query, pages, budget).tolist(), strict=True))

    def score(
        self,
        query: NDArray[np.float32],
        ids: Sequence[str],
        budget: RetrievalBudget,
        others: Sequence[Page] = (),
        vectors: Encoded | None = None,
    ) -> Hits:
        """Rank given pages: stored ones by their stored vectors, others by those at hand.

        Args:
            query: float32 unit vectors, shape (R_q, D).
            ids: Of stored pages; those that are not stored are left out.
            budget: The vectors that take part.
            others: Pages that are not stored, or whose stored vectors do not count.
            vectors: Their vectors as the index would store them, shape (others, R, …).
        """
        start = time.perf_counter()
        scores, stored = self._scores_given(query, list(dict.fromkeys(ids)), budget)
        pages = {id: self._with_picture(record.page) for id, record in stored.items()}
        if vectors is not None and others:
            pages |= {page.id: page for page in others}
            raw = scores_of(query, vectors, budget).tolist()
            scores |= dict(zip([page.id for page in others], raw, strict=True))
        given = [id for id in in_order(scores) if id in pages]
        shown, scale = {id: shown_score(scores[id], budget) for id in given}, self._unrelated()
        sure = {id: confidence_of(scale, budget, shown[id]) for id in given}
        hits = [Hit(n, shown[id], pages[id], confidence=sure[id]) for n, id in enumerate(given, 1)]
        plan = SearchPlan("given", ((budget.r_c, len(hits)),))
        return Hits(hits, None, budget, time.perf_counter() - start, plan=plan)

    def _scores_given(
        self, query: NDArray[np.float32], ids: Sequence[str], budget: RetrievalBudget
    ) -> tuple[dict[str, float], dict[str, Record]]:
        """Raw scores of those of these pages that are stored, and their records."""
        if not ids:
            return {}, {}

        def ask() -> tuple[dict[str, float], PageVectors]:
            source = self._source(None)
            return source.scores(query, ids, budget), source

        scores, source = self.mended(ask)
        stored = self._store.get(list(scores), vectors=False)
        stamps = source.stamps(list(stored))
        new = self._store.get([i for i, one in stored.items() if one.stamp != stamps.get(i)])
        return scores | self._scored_anew(query, list(new), new, budget), stored | new

    def scored(
        self, queries: NDArray[np.float32], texts: Sequence[str], plan: QueryPlan
    ) -> list[Scored]:
        """The best pages of each query with their scores, without their records."""
        return self.mended(lambda: self._scored(queries, texts, plan))[0]

    def _scored(
        self, queries: NDArray[np.float32], texts: Sequence[str], plan: QueryPlan
    ) -> tuple[list[Scored], PageVectors]:
        source = self._source(plan.options.where)
        words = [self._words(text, plan) for text in texts]
        without = np.array([isinstance(one, str) for one in words], dtype=bool)
        plain = iter(source.best(queries[without], plan, plan.k))
        scored = [
            replace(next(plain), words=one)
            if isinstance(one, str)
            else self._fused(source, query, one, plan)
            for query, one in zip(queries, words, strict=True)
        ]
        return scored, source

    def _fused(
        self, source: PageVectors, query: NDArray[np.float32], words: WordScores, plan: QueryPlan
    ) -> Scored:
        """The pages that are near, and those that have the words, by both."""
        [near] = source.best(query[None], plan, plan.pool)
        wanted = [] if plan.pool is None else words.best(plan.pool)
        hidden = self._store.unreadable
        more = [id for id in wanted if id not in near.maxsim and id not in hidden]
        maxsim = {id: near.maxsim[id] for id in near.ids} | source.scores(query, more, plan.budget)
        ids = list(maxsim)
        bm25, shares = words.of(ids), words.found_on(ids)
        fusion, counted = plan.fusion or Fusion(), bm25
        if plan.words_optional:
            fusion, counted = weighed(words.most_found()), shares
        both = fuse(fusion, np.array([maxsim[id] for id in ids]), counted)
        fused = dict(zip(ids, both.tolist(), strict=True))
        best = heapq.nsmallest(plan.k, ids, key=lambda id: (-fused[id], id))
        known, found = (dict(zip(ids, one.tolist(), strict=True)) for one in (bm25, shares))
        spread = spread_of(maxsim.values(), bm25, shares, words.most_found(), plan.budget)
        how = described(fusion)
        return Scored(best, maxsim, near.stages, fused, known, found, how, words.stamps, spread)

    def _words(self, text: str, plan: QueryPlan) -> WordScores | str:
        """BM25 of the pages that match the filter; or why words do not count."""
        if plan.fusion is None:
            return ""
        if not text.strip():
            return NO_TEXT
        if not plan.words_optional:
            return self._bm25(text, plan.options.where)
        if plan.options.max_ms is not None:
            return NOT_TIMED
        try:
            found = self._bm25(text, plan.options.where)
        except MissingExtraError as error:
            return f"vectors alone: {error}"
        return found if found.highest() > 0 else NO_WORD

    def _bm25(self, text: str, where: Mapping[str, Any] | None) -> WordScores:
        words = self._lexical.current().search(text)
        return words.only(self._store.ids(where)) if where else words

    def _source(self, where: Mapping[str, Any] | None) -> PageVectors:
        vectors = self.vectors()
        if vectors is None:
            return StoredPages(self._store, where)
        ids = self._store.ids(where) if where else None
        hidden = self._store.unreadable
        if hidden:
            every = vectors.ids[vectors.alive].tolist() if ids is None else ids
            ids = [id for id in every if id not in hidden]
        return CachedPages(vectors, ids, lambda: self._copied(vectors))

    def _copied(self, vectors: CachedVectors) -> TensorPages | None:
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

    def _hits(
        self,
        scored: Scored,
        found: Mapping[str, Record],
        budget: RetrievalBudget,
        scale: Unrelated | None,
    ) -> list[Hit]:
        """Those that are still stored, best first."""
        hits = []
        there = [id for id in scored.ids if id in found]
        pages = self.with_pictures([found[id].page for id in there])
        for rank, (id, page) in enumerate(zip(there, pages, strict=True), start=1):
            shown = shown_score(scored.maxsim[id], budget)
            share = None if scored.found is None else scored.found[id]
            sure = confidence_of(scale, budget, shown, share)
            if scored.fused is None or scored.bm25 is None:
                hits.append(Hit(rank, shown, page, confidence=sure))
            else:
                two = (shown, scored.bm25[id])
                hits.append(Hit(rank, scored.fused[id], page, *two, sure, found=share))
        return hits

    def with_pictures(self, pages: Sequence[Page]) -> list[Page]:
        """Stored pages with the paths of their kept pictures, None where the file is gone."""
        self._pictures.fetch(page.image_path for page in pages if page.image_path is not None)
        return [self._with_picture(page) for page in pages]

    def _with_picture(self, page: Page) -> Page:
        if page.image_path is None:
            return page
        path = self._pictures.path(page.image_path)
        return replace(page, image_path=str(path) if path.exists() else None)


def _other_version(scored: Scored, source: PageVectors, found: Mapping[str, Record]) -> list[str]:
    """Ids of pages whose records are not of the version that was scored."""
    there = [id for id in scored.ids if id in found]
    stamps = source.stamps(there)
    read = {id: found[id].stamp for id in there}
    texts = scored.texts
    return [
        id
        for id, stamp in read.items()
        if stamp != stamps.get(id) or (texts is not None and stamp and stamp not in texts)
    ]
