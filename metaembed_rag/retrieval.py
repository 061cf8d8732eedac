"""Queries into hits: encoded by the index's model, searched or ranked at a budget, measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.comparison import BudgetResult, Comparison
from metaembed_rag.errors import BudgetError, CacheError, PageError, StoreError, kind_of_value
from metaembed_rag.hits import Hits
from metaembed_rag.model.inputs import Input, Mode, Query, query_text, read_query
from metaembed_rag.opening import IndexModel
from metaembed_rag.options import HybridLike, SearchKeywords, SearchOptions, check_k, page_ids
from metaembed_rag.pages import Page
from metaembed_rag.reranking import encoded_as_stored, split_stored
from metaembed_rag.search.asking import ask_unrelated
from metaembed_rag.search.calibration import Calibration, CalibrationFile
from metaembed_rag.search.confidence import Unrelated, unrelated_questions
from metaembed_rag.search.lexical_cache import LexicalCache
from metaembed_rag.search.measuring import calibrated, sample_queries, share_found
from metaembed_rag.search.plan import Plan, QueryPlan, check_budget, fresh_vectors, plan_query
from metaembed_rag.search.pooled_words import QueryWords, search_among
from metaembed_rag.search.searcher import PageSearcher
from metaembed_rag.search.word_scores import WordScores
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.records import StampedText
from metaembed_rag.store.unmatched import not_logged


class Retrieval:
    """Answers queries from one index.

    Args:
        store: Holds the records.
        model: Makes the queries' vectors.
        searcher: Finds and ranks pages.
        calibration: Where the plans for the budget ``"auto"`` are kept.
        lexical: The words of the pages.
    """

    def __init__(
        self,
        store: ChromaStore,
        model: IndexModel,
        searcher: PageSearcher,
        calibration: CalibrationFile,
        lexical: LexicalCache,
    ) -> None:
        self._store, self._model, self._lexical = store, model, lexical
        self._searcher, self._calibration = searcher, calibration

    def search(self, queries: Sequence[Query], options: SearchOptions) -> list[Hits]:
        """See :meth:`metaembed_rag.PageIndex.search_batch`."""
        asked = [read_query(query) for query in queries]
        self._store.check_open()
        self._model.encoder()  # loaded here, if it has to be, and not in the time of a search
        start = time.perf_counter()
        vectors = self._model.query_vectors(asked)
        encoding = (time.perf_counter() - start) / max(1, len(asked))
        found = self._found(vectors, _texts(asked), options)
        for query, hits in zip(asked, found, strict=True):
            hits.query = query
            hits.seconds += encoding
        return found

    def encode(self, query: Query) -> tuple[NDArray[np.float32], str]:
        """A query's vectors, float32 of shape (R_q, D), and its words, as a search takes them."""
        asked = read_query(query)
        return self._model.query_vectors([asked])[0], query_text(asked)

    def encode_all(self, queries: Sequence[Query]) -> tuple[NDArray[np.float32], list[str]]:
        """Vectors of queries, float32 of shape (queries, R_q, D), and the words of each."""
        asked = [read_query(query) for query in queries]
        if not asked:
            return np.empty((0, 1, 1), dtype=np.float32), []
        return self._model.query_vectors(asked), _texts(asked)

    def raw_scores(
        self, queries: NDArray[np.float32], budget: RetrievalBudget, where: Mapping[str, Any] | None
    ) -> list[Mapping[str, float]]:
        """Exact MaxSim sums of every page by id, for each query, shape (queries, R_q, D)."""
        check_budget(budget, self._most(queries))
        options = SearchOptions(max(1, self._store.count()), where=where)
        plan = QueryPlan("exhaustive", Plan(budget), options)
        return [one.maxsim for one in self._searcher.scored(queries, [""] * len(queries), plan)]

    def compare(
        self, query: Query, budgets: Sequence[BudgetLike] | None, k: int, options: SearchOptions
    ) -> Comparison:
        """See :meth:`metaembed_rag.PageIndex.compare`; ``options.k`` is the depth."""
        asked = read_query(query)
        self._store.check_open()
        self._model.encoder()  # loaded here, if it has to be, and not in the time of the query
        start = time.perf_counter()
        vectors = self._model.query_vectors([asked])
        encoding = 1000 * (time.perf_counter() - start)
        most = self._most(vectors)
        # The exact search is the first: it opens the cache, and no budget's time has that in it.
        exact = replace(options, budget=most, exhaustive=True, candidates=None)
        at_budgets = [replace(options, budget=one) for one in _compared(budgets, most)]
        text = [query_text(asked)]
        [best] = self._found(vectors, text, exact)
        with not_logged():  # what is to be said of a filter was said
            found = [self._found(vectors, text, one)[0] for one in at_budgets]
        ranks = [{hit.page.id: hit.rank for hit in hits} for hits in found]
        for hits in (best, *found):
            hits.query = asked
            del hits[k:]
        results = tuple(self._result(*one, best) for one in zip(found, ranks, strict=True))
        return Comparison(asked, k, options.k or k, results, best, encoding)

    def _result(self, hits: Hits, ranks: dict[str, int], best: Hits) -> BudgetResult:
        """What one budget found, and how much of the exact search's best."""
        wanted, found = ({hit.page.id for hit in one} for one in (best, hits))
        share = len(wanted & found) / len(wanted) if wanted else 1.0
        milliseconds = 1000 * hits.seconds
        return BudgetResult(hits.budget, hits, ranks, milliseconds, self._read(hits), share)

    def _read(self, hits: Hits) -> int:
        """Bytes of page vectors that the stages of a search compared."""
        stages = () if hits.plan is None else hits.plan.stages
        about = self._store.about
        fresh = fresh_vectors([vectors for vectors, _ in stages])
        read = sum(vectors * pages for vectors, (_, pages) in zip(fresh, stages, strict=True))
        return read * about.bytes_per_page // about.vectors

    @property
    def stemmer(self) -> str | None:
        """How a hybrid search reads words; see :mod:`metaembed_rag.metadata.languages`."""
        return self._lexical.stemmer

    def query_words(self, text: str) -> QueryWords:
        """In how many pages the words of a query are."""
        return QueryWords.of(self._lexical.current(), text)

    def words_among(
        self, text: str, among: QueryWords, where: Mapping[str, Any] | None
    ) -> WordScores:
        """BM25 of the pages that match a filter, with the rarity of words among more pages."""
        words = search_among(self._lexical.current(), text, among)
        return words.only(self._store.ids(where)) if where else words

    def texts(self) -> Iterator[StampedText]:
        """The text of every page."""
        return self._store.texts()

    def calibration(self) -> Calibration | None:
        """What calibrating this index has found; None where it was not, or is of no use now."""
        try:
            return self._calibration.load()
        except BudgetError:
            return None

    def search_vectors(
        self, query_vectors: NDArray[np.float32], text: str, options: SearchOptions
    ) -> Hits:
        """See :meth:`metaembed_rag.PageIndex.search_vectors`."""
        vectors = self._model.cut(_checked_query(query_vectors))
        return self._found(vectors[None], [text], options)[0]

    def score(
        self,
        query: Query,
        given: Iterable[str | Page],
        options: SearchOptions,
        *,
        mode: Mode,
        batch_size: int,
        on_skip: Callable[[PageError], None] | None,
    ) -> Hits:
        """See :meth:`metaembed_rag.PageIndex.score`."""
        asked = read_query(query)
        vectors = self._model.query_vectors([asked])
        most = self._most(vectors)
        budget = options.unchosen(most)
        check_budget(budget, most)
        stored, others = split_stored(self._store, _ids_and_pages(given), mode)
        readable, encoded = encoded_as_stored(
            self._model.encoder(), self._store.about, others, mode, batch_size, on_skip
        )
        hits = self._searcher.score(vectors[0], stored, budget, readable, encoded)
        hits.query = asked
        return hits

    def recall(self, queries: Sequence[Query], options: SearchOptions) -> float:
        """See :meth:`metaembed_rag.PageIndex.recall`."""
        asked = [read_query(query) for query in queries]
        if not asked:
            return 1.0
        vectors = self._model.query_vectors(asked)
        exact = options.exact(self._most(vectors))
        wanted, found = (self._found(vectors, _texts(asked), one) for one in (exact, options))
        return share_found(found, wanted)

    def calibrate(
        self,
        queries: Sequence[Query] | None,
        k: int,
        recall: float,
        unrelated: Sequence[Query] | None = None,
    ) -> Calibration:
        """See :meth:`metaembed_rag.PageIndex.calibrate`."""
        check_k(k)
        given = sample_queries(self._store) if queries is None else queries
        asked = [read_query(query) for query in given]
        encoded = self._model.query_vectors(asked) if asked else np.empty((0, 1, 1), np.float32)

        def measured() -> Calibration:
            vectors = self._searcher.vectors()
            if vectors is None:
                raise CacheError("calibrating needs the vector cache, and none can be kept")
            return calibrated(encoded, vectors, self._store, k, recall)

        found = self._searcher.mended(measured)
        found = replace(found, unrelated=self._unrelated(unrelated))
        self._calibration.save(found)
        return found

    def _unrelated(self, given: Sequence[Query] | None) -> Unrelated:
        """What the best pages of unrelated questions score."""
        asked = [read_query(one) for one in (unrelated_questions() if given is None else given)]
        vectors = self._model.query_vectors(asked)
        return ask_unrelated(self._searcher, vectors, _texts(asked), self._most(vectors))

    def _found(
        self, queries: NDArray[np.float32], texts: Sequence[str], options: SearchOptions
    ) -> list[Hits]:
        """The hits of each query, shape (queries, R_q, D); each with its share of the time."""
        count = self._store.count
        if options.hybrid is None:
            options = replace(options, hybrid=self._store.about.hybrid or False)
        plan = plan_query(
            options, self._most(queries), lambda o: self._calibration.plan_for(o, count())
        )
        return self._searcher.search(queries, texts, plan)

    def _most(self, queries: NDArray[np.float32]) -> RetrievalBudget:
        """The largest budget of queries with these vectors, shape (queries, R_q, D)."""
        return RetrievalBudget(queries.shape[1], self._store.about.vectors)


class MeasuredIndex:
    """Measures the searches of the index that a subclass opens."""

    _retrieval: Retrieval

    @property
    def retrieval(self) -> Retrieval:
        """The steps of a search, for who encodes a query once and asks at many budgets."""
        return self._retrieval

    def compare(
        self,
        query: Query,
        budgets: Sequence[BudgetLike] | None = None,
        k: int = 3,
        *,
        depth: int = 20,
        hybrid: HybridLike = None,
        where: Mapping[str, Any] | None = None,
        candidates: int | None = None,
        exhaustive: bool | None = None,
    ) -> Comparison:
        """Ask one query at several budgets, and show what each finds side by side.

        The query is encoded once. A notebook shows a column of pages for each budget, ``print`` a
        table with the rank of each page at each budget, the milliseconds and the bytes read.

        Args:
            query: As for :meth:`search`.
            budgets: Such as ``["1,1", "balanced", (16, 64)]``; by default the paper's five that
                there are vectors for, and all vectors.
            k: Hits of each budget.
            depth: How far down the ranks of pages are told.
            hybrid: As for :meth:`search`, and so are ``where``, ``candidates`` and
                ``exhaustive``; False shows what the vectors find without the help of words.

        Raises:
            BudgetError: There are no budgets, one is none or ``"auto"``, or one asks for more
                vectors than there are.
            StoreError: ``k`` or ``depth`` is no whole number of at least 1.
        """
        check_k(k)
        check_k(depth)
        options = SearchOptions(
            k=max(k, depth),
            hybrid=hybrid,
            where=where,
            candidates=candidates,
            exhaustive=exhaustive,
        )
        found = self._retrieval.compare(query, budgets, k, options)
        for hits in (found.exact, *(one.hits for one in found)):
            self._complete(hits)
        return found

    def _complete(self, hits: Hits) -> None:
        """Add to hits what else the index has for them; nothing here."""

    def recall(
        self, queries: Sequence[Query], k: int = 10, **keywords: Unpack[SearchKeywords]
    ) -> float:
        """Share of the exhaustive top ``k`` that a search with these keywords finds.

        1.0 means that the approximation lost nothing at this budget; 1.0 also for an empty index.
        With ``budget="auto"``, the exhaustive twin has all vectors.
        """
        return self._retrieval.recall(queries, SearchOptions.of(keywords, k))

    def calibrate(
        self,
        queries: Sequence[Query] | None = None,
        *,
        k: int = 10,
        recall: float = 0.99,
        unrelated: Sequence[Query] | None = None,
    ) -> Calibration:
        """Measure how many pages have to be scored how finely, for ``budget="auto"``, and what
        unrelated questions score, for the confidence of hits.

        The result is kept beside the index (in the user's cache folder for a server) and replaces
        the one before. Calibrate again when the index has doubled, or on another machine: the
        milliseconds are those of this one.

        Args:
            queries: Some hundred of the kind that will be asked. Without them, pieces of the pages'
                texts stand for queries; their recall is easier than that of real ones.
            k: Size of the top that has to be found.
            recall: The share of it, in (0, 1].
            unrelated: At least 20 questions that the index holds no answer to, in the language and
                the manner in which people will ask. Without them, 100 everyday questions in
                English about cooking, pets, travel and the like.

        Raises:
            StoreError: ``k`` is no whole number of at least 1.
            BudgetError: There are no pages or too few queries, or the recall makes no sense.
            CacheError: No copy of the vectors can be kept here, and so none be calibrated.
        """
        return self._retrieval.calibrate(queries, k, recall, unrelated)


def _compared(
    given: Sequence[BudgetLike] | None, most: RetrievalBudget
) -> tuple[RetrievalBudget, ...]:
    """The budgets to compare, each once: those given, or the paper's and all vectors.

    Raises:
        BudgetError: They are none, or ask for more vectors than there are.
    """
    if given is None:
        paper = (one for one in RetrievalBudget.paper() if one.r_q <= most.r_q)
        return tuple(dict.fromkeys([*(one for one in paper if one.r_c <= most.r_c), most]))
    if isinstance(given, str | RetrievalBudget) or not given:
        raise BudgetError(f'compare takes a list of budgets such as ["1,1", "4,8"], not {given!r}')
    budgets = tuple(dict.fromkeys(map(RetrievalBudget.parse, given)))
    for one in budgets:
        check_budget(one, most)
    return budgets


def _checked_query(given: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of a query, float32 of shape (R_q, D).

    Raises:
        StoreError: They are of another shape, or hold numbers that are not finite.
    """
    try:
        vectors = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise StoreError(f"the query's vectors are no array of numbers ({error})") from error
    if vectors.ndim != 2 or not vectors.size:
        raise StoreError(f"a query's vectors have the shape (R_q, D), not {vectors.shape}")
    if not np.isfinite(vectors).all() or not vectors.any(axis=-1).all():
        raise StoreError("the query's vectors hold numbers that are not finite, or only zeros")
    return vectors


def _ids_and_pages(given: Any) -> list[str | Page]:
    """What is to be ranked.

    Raises:
        StoreError: It is something else than a list of ids and pages.
    """
    if isinstance(given, str | bytes | Page) or not isinstance(given, Iterable):
        raise StoreError(f"give a list of ids and pages, not {kind_of_value(given)}")
    every = list(given)
    page_ids([one for one in every if not isinstance(one, Page)])
    return every


def _texts(queries: Sequence[Input]) -> list[str]:
    return [query_text(query) for query in queries]
