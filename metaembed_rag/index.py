"""PageIndex: pages in, hits out.

pages -> encode -> Chroma          (add, sync)
query -> encode -> all pages coarsely, fewer finely, MaxSim at the budget -> hits   (search)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import BudgetLike, RetrievalBudget, is_auto
from metaembed_rag.errors import CacheError, StoreError
from metaembed_rag.hits import Hit, Hits, SearchPlan
from metaembed_rag.ingest import AddOptions, AddReport, Ingest
from metaembed_rag.model.base import Encoder
from metaembed_rag.model.inputs import Input, Mode, check_query, query_input, query_text
from metaembed_rag.opening import DEFAULT_MODEL, Opened, OpenSettings, open_parts
from metaembed_rag.pages import Page
from metaembed_rag.search.calibrating import (
    CalibrationFile,
    about_vectors,
    calibrated,
    chosen_plan,
    doubts,
    sample_queries,
)
from metaembed_rag.search.cascade import Calibration, Plan, candidates_plan, safe_plan
from metaembed_rag.search.fusion import Fusion, HybridLike
from metaembed_rag.search.searcher import CANDIDATES, Options, PageSearcher, Ranked, Way, check_k
from metaembed_rag.search.words import LexicalCache
from metaembed_rag.store import records
from metaembed_rag.vectors.formats import cut_dimension, vector_format
from metaembed_rag.vectors.tensors import CPU

__all__ = ["DEFAULT_MODEL", "AddReport", "Hit", "Hits", "PageIndex"]


class PageIndex:
    """An index of pages. Use :meth:`open`."""

    def __init__(self, opened: Opened, lexical: LexicalCache) -> None:
        self._opened = opened
        self._store = opened.store
        self._encoder = opened.encoder
        self._pictures = opened.pictures
        self._searcher = PageSearcher(self._store, lexical, self._scoring_device)
        self._calibration = CalibrationFile(
            self._store.places.calibration, about_vectors(self._store.about)
        )
        self._ingest = Ingest(
            self._store, self._pictures, lambda: self.encoder, self._searcher.apply
        )

    @classmethod
    def open(
        cls,
        where: str | Path,
        encoder: Encoder | None = None,
        *,
        collection: str = "pages",
        create: bool = True,
        stemmer: str | None = "english",
        **settings: Unpack[OpenSettings],
    ) -> PageIndex:
        """Open an index, or make an empty one.

        Args:
            where: A folder, ``http(s)://host:port`` of a Chroma server, or ``":memory:"``.
            encoder: The model. Without one, an existing index loads the model that made it when
                it is first needed, and a new one takes the shipped ``mini``.
            collection: Name of the Chroma collection: one folder or server can hold several.
            create: Make an index where there is none.
            stemmer: Snowball language whose word endings a hybrid search ignores; None compares
                whole words, which is better for titles and names.
            **settings: How a new index stores vectors (``vectors``, ``format``, ``dimension``),
                where pictures lie (``pictures``), ``headers`` of a server, and where model and
                scoring run (``device``, ``scoring_device``); see
                :class:`metaembed_rag.opening.OpenSettings`.

        Raises:
            IndexNotFoundError: There is none and ``create`` is false.
            ModelMismatchError: The index was made with another model.
            StoreError: It cannot be opened.
        """
        opened = open_parts(where, encoder, collection, create, settings)
        lexical = LexicalCache(opened.store, opened.store.places.lexical(stemmer), stemmer)
        return cls(opened, lexical)

    @property
    def encoder(self) -> Encoder:
        """The model, loaded by the name that the index recorded when none was given."""
        if self._encoder is None:
            self._encoder = self._opened.load_encoder()
        return self._encoder

    @property
    def vectors_per_page(self) -> int:
        """Vectors stored a page: the largest r_c of a budget."""
        return self._store.about.vectors

    def __len__(self) -> int:
        return self._store.count()

    def info(self) -> dict[str, Any]:
        """What the index is: place, model, pages, vectors, bytes a page."""
        about = self._store.about
        return {
            "index": self._store.where,
            "collection": self._store.name,
            "model": about.model,
            "fingerprint": about.fingerprint,
            "pooling": about.pooling or "none: the model makes ordered vectors",
            "pages": len(self),
            "vectors_per_page": about.vectors,
            "dimension": about.dimension,
            "vector_format": about.format,
            "bytes_per_page": about.vectors
            * vector_format(about.format).bytes_per_vector(about.dimension),
            "pictures": str(self._pictures.folder),
        }

    # -- writing ---------------------------------------------------------------------------

    def add(
        self,
        pages: Iterable[Page],
        *,
        mode: Mode = "fused",
        batch_size: int = 64,
        ocr: bool = True,
        progress: Callable[[int], None] | None = None,
        show_progress: bool = False,
        lock_timeout: float = 0.0,
    ) -> AddReport:
        """Encode and store pages; those that are stored unchanged are not encoded again.

        A page replaces the one with the same id. Pages beyond the end of a source (its
        ``page_count``) are removed, and so is a page that has nothing to read any more. A batch is
        in the index when ``progress`` is called for it.

        Args:
            pages: For example :func:`metaembed_rag.load_pages`; consumed lazily, a batch at a
                time.
            mode: What of a page is encoded. Where a page lacks it, or the model cannot read it,
                the rest of the page serves (OCR text for a picture); see :func:`page_input`.
            batch_size: Pages encoded at a time.
            ocr: Read pictures by OCR where the model needs their text.
            progress: Called with the number of pages done after each batch.
            show_progress: Draw a bar: on standard error, or in the notebook.
            lock_timeout: Seconds to wait for another writer.

        Raises:
            IndexLockedError: Another process is writing.
            MetadataError: A page's metadata cannot be stored.
            MetaEmbedError: The model or the store failed.
        """
        options = AddOptions(mode, batch_size, ocr, progress, show_progress, lock_timeout)
        return self._ingest.add(pages, options)

    def sync(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        mode: Mode = "fused",
        batch_size: int = 64,
        ocr: bool = True,
        progress: Callable[[int], None] | None = None,
        show_progress: bool = False,
        lock_timeout: float = 0.0,
        **load_options: Any,
    ) -> AddReport:
        """Bring the index in line with files and folders.

        New and changed files are read, unchanged ones are not even opened for rendering, and
        files that have gone from a named folder lose their pages (unless the folder holds
        nothing readable at all, as an unmounted disk does). Unreadable files are listed in the
        report and the rest goes on.

        Args:
            paths: Files and folders.
            mode: As for :meth:`add`, and so are ``batch_size``, ``ocr``, ``progress``,
                ``show_progress`` and ``lock_timeout``.
            batch_size: Pages encoded at a time.
            ocr: Read pictures by OCR where the model needs their text.
            progress: Called with the number of pages done after each batch.
            show_progress: Draw a bar: on standard error, or in the notebook.
            lock_timeout: Seconds to wait for another writer.
            **load_options: Passed to :func:`metaembed_rag.load_pages`.
        """
        options = AddOptions(mode, batch_size, ocr, progress, show_progress, lock_timeout)
        return self._ingest.sync(paths, options, load_options)

    def delete(
        self,
        ids: Sequence[str] | str | None = None,
        *,
        source: str | Path | None = None,
        where: Mapping[str, Any] | None = None,
        lock_timeout: float = 0.0,
    ) -> int:
        """Delete pages by id, by source file or by filter.

        Args:
            ids: Page ids.
            source: A file (as given to :func:`metaembed_rag.load_pages`) or any page's source.
            where: A Chroma filter on metadata.
            lock_timeout: Seconds to wait for another writer.

        Returns:
            The number of pages that were there and are gone now.
        """
        return self._ingest.delete(ids, source, where, lock_timeout)

    # -- reading ---------------------------------------------------------------------------

    def search(
        self,
        query: Input,
        k: int = 5,
        *,
        budget: BudgetLike | None = None,
        candidates: int | None = None,
        where: Mapping[str, Any] | None = None,
        exhaustive: bool = False,
        hybrid: HybridLike = False,
        max_ms: float | None = None,
        min_recall: float | None = None,
    ) -> Hits:
        """Find the pages that answer a query.

        By default a cascade reads the vectors' mapped copy (see ``docs/search_speed.md``): all
        pages by their first vector, the best tenth by four, 3 % by sixteen, 1 % at the budget.

        Args:
            query: Text, a PIL image, or ``{"text": …, "image": …}`` for both in one query.
            k: At most so many hits.
            budget: ``(r_q, r_c)``: how many vectors a side take part in the score. Without one,
                that of the environment variable ``METAEMBED_BUDGET``, or else all that there are.
                ``"auto"``: the index's calibration chooses the budget and how many pages are
                scored with it; :meth:`calibrate` comes first.
            candidates: Score so many pages at the budget, the best by their first vector.
            where: Only pages whose metadata match, in Chroma's filter language; several plain
                keys mean all of them. ``source`` and ``page`` are fields too.
            exhaustive: Score every page at the budget: the exact twin of every other way.
            hybrid: Let the words of the query's text count too, by BM25: True, the weight of
                words over 0 and under 1, ``"minmax"`` or ``"rrf"``; see :class:`Fusion`. As many
                pages again (200, and at least 4 k, by default) are looked at for their words. A
                query without text is searched without words.
            max_ms: With ``"auto"``, milliseconds that a search may take beyond encoding the query.
            min_recall: With ``"auto"``, the share of the full budget's exact top k to be found.
                Either one asks for ``"auto"`` where no budget is named.

        Returns:
            Hits, best first, ties by page id; a score is MaxSim / r_q in [-1, 1], and in a hybrid
            search the fused score in [0, 1]. Their ``plan`` says how they were found.

        Raises:
            BudgetError: The budget asks for more vectors than there are, or ``"auto"`` for a
                calibration that there is not, or for more than it can give.
            MissingExtraError: The extra ``hybrid`` is needed and not installed.
        """
        return self.search_batch(
            [query],
            k,
            budget=budget,
            candidates=candidates,
            where=where,
            exhaustive=exhaustive,
            hybrid=hybrid,
            max_ms=max_ms,
            min_recall=min_recall,
        )[0]

    def search_batch(
        self,
        queries: Sequence[Input],
        k: int = 5,
        *,
        budget: BudgetLike | None = None,
        candidates: int | None = None,
        where: Mapping[str, Any] | None = None,
        exhaustive: bool = False,
        hybrid: HybridLike = False,
        max_ms: float | None = None,
        min_recall: float | None = None,
    ) -> list[Hits]:
        """:meth:`search` for several queries, encoded and searched together."""
        for query in queries:
            check_query(query)
        _ = self.encoder  # loaded here, if it has to be, and not in the time of a search
        start = time.perf_counter()
        vectors = self._query_vectors(queries)
        encoding = (time.perf_counter() - start) / max(1, len(queries))
        options = Options(k, budget, candidates, where, exhaustive, hybrid, max_ms, min_recall)
        found = self._found(vectors, [query_text(query) for query in queries], options)
        for query, hits in zip(queries, found, strict=True):
            hits.query = query
            hits.seconds += encoding
        return found

    def search_vectors(
        self,
        query_vectors: NDArray[np.float32],
        k: int = 5,
        *,
        budget: BudgetLike | None = None,
        candidates: int | None = None,
        where: Mapping[str, Any] | None = None,
        exhaustive: bool = False,
        hybrid: HybridLike = False,
        max_ms: float | None = None,
        min_recall: float | None = None,
        text: str = "",
    ) -> Hits:
        """:meth:`search` with the query's vectors, float32 of shape (R_q, D), at hand.

        ``text`` holds the words that a hybrid search looks for.
        """
        options = Options(k, budget, candidates, where, exhaustive, hybrid, max_ms, min_recall)
        return self._found(self._cut(query_vectors)[None], [text], options)[0]

    def score(self, query: Input, ids: Sequence[str], *, budget: BudgetLike | None = None) -> Hits:
        """Rank given pages by their stored vectors, for reranking another retriever's results.

        Ids that are not stored are left out.
        """
        check_query(query)
        vectors = self._query_vectors([query])[0]
        budget = self._budget(budget, len(vectors))
        start = time.perf_counter()
        ranked = self._searcher.score(vectors, ids, budget)
        plan = SearchPlan("given", ((budget.r_c, len(ranked)),))
        hits = self._hits(ranked, budget)
        return Hits(hits, query, budget, time.perf_counter() - start, plan=plan)

    def recall(
        self,
        queries: Sequence[Input],
        k: int = 10,
        *,
        budget: BudgetLike | None = None,
        candidates: int | None = None,
        where: Mapping[str, Any] | None = None,
        hybrid: HybridLike = False,
        max_ms: float | None = None,
        min_recall: float | None = None,
    ) -> float:
        """Share of the exhaustive top ``k`` that a search with these options finds.

        1.0 means that the approximation lost nothing at this budget; 1.0 also for an empty index.
        With ``budget="auto"``, the exhaustive twin has all vectors.
        """
        for query in queries:
            check_query(query)
        if not queries:
            return 1.0
        texts = [query_text(query) for query in queries]
        vectors = self._query_vectors(queries)
        quick = Options(k, budget, candidates, where, False, hybrid, max_ms, min_recall)
        every = RetrievalBudget(vectors.shape[1], self.vectors_per_page)
        twin = every if quick.is_auto else budget
        exact = Options(k, twin, None, where, True, hybrid)
        pairs = zip(
            self._found(vectors, texts, exact), self._found(vectors, texts, quick), strict=True
        )
        sets = [({hit.page.id for hit in a}, {hit.page.id for hit in b}) for a, b in pairs]
        wanted = sum(len(exact_ids) for exact_ids, _ in sets)
        return sum(len(a & b) for a, b in sets) / wanted if wanted else 1.0

    def calibrate(
        self, queries: Sequence[Input] | None = None, *, k: int = 10, recall: float = 0.99
    ) -> Calibration:
        """Measure how many pages have to be scored how finely, for ``budget="auto"``.

        The result is kept beside the index (in the user's cache folder for a server) and replaces
        the one before. Calibrate again when the index has doubled, or on another machine: the
        milliseconds are those of this one.

        Args:
            queries: Some hundred of the kind that will be asked. Without them, pieces of the pages'
                texts stand for queries; their recall is easier than that of real ones.
            k: Size of the top that has to be found.
            recall: The share of it, in (0, 1].

        Raises:
            StoreError: ``k`` is no whole number of at least 1.
            BudgetError: There are no pages or too few queries, or the recall makes no sense.
            CacheError: No copy of the vectors can be kept here, and so none be calibrated.
        """
        check_k(k)
        asked = sample_queries(self._store) if queries is None else list(queries)
        for query in asked:
            check_query(query)
        vectors = self._searcher.vectors()
        if vectors is None:
            raise CacheError("calibrating needs the vector cache, and none can be kept")
        encoded = self._query_vectors(asked) if asked else np.empty((0, 1, 1), np.float32)
        found = calibrated(encoded, vectors, self._store, k, recall)
        self._calibration.save(found)
        return found

    def search_without_cache(self) -> None:
        """Read vectors out of Chroma's records from now on: slower, the same answers."""
        self._searcher.leave_cache()

    def get(self, ids: Sequence[str]) -> list[Page]:
        """The stored pages of those ids that exist, in the order of ``ids``."""
        found = self._store.get(list(ids))
        return [self._with_picture(found[id].page) for id in ids if id in found]

    def ids(self, where: Mapping[str, Any] | None = None) -> list[str]:
        """Ids of all pages, or of those that match a filter, sorted."""
        return self._store.ids(where)

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """The stored vectors of pages, float32 of shape (pages, R, D), as the format rounds them.

        Raises:
            StoreError: An id is not stored.
        """
        found = self._store.get(list(ids))
        missing = [id for id in ids if id not in found]
        if missing:
            raise StoreError(f"no page with the id {missing[0]!r} ({len(missing)} missing)")
        about = self._store.about
        ordered = [found[id] for id in ids]
        return records.unpack_vectors(
            ordered, about.dimension, about.vectors, about.format
        ).decode()

    # -- inner -----------------------------------------------------------------------------

    def _budget(self, asked: BudgetLike | None, query_vectors: int) -> RetrievalBudget:
        """The budget asked for, or the environment's, or everything; never more than there is."""
        auto = is_auto(asked)
        chosen = (
            RetrievalBudget.default() if asked is None or auto else RetrievalBudget.parse(asked)
        )
        budget = chosen or RetrievalBudget(query_vectors, self.vectors_per_page)
        budget.check(query_vectors=query_vectors, page_vectors=self.vectors_per_page)
        return budget

    def _found(
        self, queries: NDArray[np.float32], texts: Sequence[str], options: Options
    ) -> list[Hits]:
        """The hits of each query, shape (queries, R_q, D); each with its share of the time."""
        start = time.perf_counter()
        way = self._way(options, queries.shape[1])
        answers = self._searcher.search(queries, texts, way)
        budget = way.plan.budget
        hits = [list(self._hits(answer.ranked, budget)) for answer in answers]
        seconds = (time.perf_counter() - start) / max(1, len(answers))
        return [
            Hits(found, None, budget, seconds, answer.scoring, answer.plan)
            for found, answer in zip(hits, answers, strict=True)
        ]

    def _way(self, options: Options, query_vectors: int) -> Way:
        """How to search, from what was asked for."""
        k, where, fusion = options.k, options.where, Fusion.parse(options.hybrid)
        if options.is_auto:
            calibration = self._calibration.load()
            pages = len(self)
            plan = chosen_plan(calibration, pages, options.max_ms, options.min_recall)
            plan.budget.check(query_vectors=query_vectors, page_vectors=self.vectors_per_page)
            note = doubts(calibration, pages, k)
            return Way("auto", plan, k, None, where, fusion, note)
        budget = self._budget(options.budget, query_vectors)
        if options.exhaustive:
            return Way("exhaustive", Plan(budget), k, None, where, fusion)
        if options.candidates is not None:
            plan = candidates_plan(budget, options.candidates)
            return Way("candidates", plan, k, options.candidates, where, fusion)
        return Way("cascade", safe_plan(budget), k, max(CANDIDATES, 4 * k), where, fusion)

    def _scoring_device(self) -> str:
        """Where pages are scored: as asked for, or beside the model on its GPU."""
        device = getattr(self._encoder, "device", None)
        beside = str(device) if getattr(device, "type", "") == "cuda" else CPU
        return self._opened.scoring_device or beside

    def _query_vectors(self, queries: Sequence[Input]) -> NDArray[np.float32]:
        encoder = self.encoder
        inputs = [query_input(query, encoder.modalities) for query in queries]
        return self._cut(encoder.encode_query(inputs))

    def _cut(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's vectors at the dimension that is stored; shape (…, dimension)."""
        width, stored = vectors.shape[-1], self._store.about.dimension
        if width != stored and width != self.encoder.dimension:
            raise StoreError(
                f"the query's vectors have {width} values, those of the index {stored}; encode the "
                f"query with the model {self._store.about.model!r}"
            )
        return cut_dimension(vectors, stored)

    def _hits(self, ranked: Sequence[Ranked], budget: RetrievalBudget) -> Iterator[Hit]:
        for rank, one in enumerate(ranked, start=1):
            # int8 rounding can take a perfect match a little past 1.
            shown = min(1.0, max(-1.0, one.maxsim / budget.r_q))
            page = self._with_picture(one.record.page)
            if one.fused is None:
                yield Hit(rank, shown, page)
            else:
                yield Hit(rank, one.fused, page, shown, one.bm25)

    def _with_picture(self, page: Page) -> Page:
        if page.image_path is None:
            return page
        path = self._pictures.path(page.image_path)
        return replace(page, image_path=str(path) if path.exists() else None)
