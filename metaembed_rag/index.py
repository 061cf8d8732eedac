"""PageIndex: pages in, hits out.

pages -> encode -> Chroma          (add, sync)
query -> encode -> all pages coarsely, fewer finely, MaxSim at the budget -> hits   (search)
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.errors import (
    CacheError,
    ModelError,
    ModelMismatchError,
    PageError,
    StoreError,
)
from metaembed_rag.hits import Hits
from metaembed_rag.ingest import Adding, AddReport, remove_pages
from metaembed_rag.model.base import Encoder, dimensions
from metaembed_rag.model.inputs import (
    Input,
    Mode,
    check_query,
    page_input,
    query_input,
    query_text,
)
from metaembed_rag.options import SearchKeywords, SearchOptions, check_k
from metaembed_rag.pages import Page, list_files, load_pages
from metaembed_rag.pages.counting import count_pages
from metaembed_rag.progress import page_counter
from metaembed_rag.search.calibration import Calibration, CalibrationFile, about_vectors
from metaembed_rag.search.measuring import calibrated, sample_queries
from metaembed_rag.search.plan import check_budget, plan_query
from metaembed_rag.search.searcher import PageSearcher
from metaembed_rag.search.words import LexicalCache
from metaembed_rag.store import records
from metaembed_rag.store.chroma import ChromaStore, CollectionModel
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.vectors.formats import DEFAULT, Encoded, cut_dimension, vector_format
from metaembed_rag.vectors.tensors import CPU
from metaembed_rag.vectors.tensors import VARIABLE as SCORING
from metaembed_rag.vectors.tensors import scoring_device as checked_device

DEFAULT_MODEL = "mini"


class PageIndex:
    """An index of pages. Use :meth:`open`."""

    def __init__(
        self,
        store: ChromaStore,
        encoder: Encoder | None,
        pictures: PictureFolder,
        lexical: LexicalCache,
        device: str | None = None,
        scoring_device: str = "",
    ) -> None:
        self._store = store
        self._encoder = encoder
        self._pictures = pictures
        self._scoring = scoring_device
        self._searcher = PageSearcher(store, lexical, pictures.path, self._scoring_device)
        self._calibration = CalibrationFile(_calibration_path(store), about_vectors(store.about))
        self._device = device

    @classmethod
    def open(
        cls,
        where: str | Path,
        encoder: Encoder | None = None,
        *,
        collection: str = "pages",
        vectors: int | None = None,
        format: str | None = None,
        dimension: int | None = None,
        create: bool = True,
        pictures: str | Path | None = None,
        headers: Mapping[str, str] | None = None,
        device: str | None = None,
        stemmer: str | None = "english",
        scoring_device: str | None = None,
    ) -> PageIndex:
        """Open an index, or make an empty one.

        Args:
            where: A folder, ``http(s)://host:port`` of a Chroma server, or ``":memory:"``.
            encoder: The model. Without one, an existing index loads the model that made it when
                it is first needed, and a new one takes the shipped ``mini``.
            collection: Name of the Chroma collection: one folder or server can hold several.
            vectors: Vectors stored a page; all that the model makes by default. An existing
                index keeps its number.
            format: How a new index stores them: ``"fp16"``, ``"int8"`` (the default), ``"int4"``
                or ``"bits"``; see ``docs/formats.md``. An existing index keeps its format.
            dimension: Values stored a vector, where the model was trained so that a prefix of its
                values works alone; all by default. An existing index keeps its number.
            create: Make an index where there is none.
            pictures: Folder for page pictures; beside a folder's index by default, in the user's
                cache folder for a server, in a temporary folder for memory.
            headers: HTTP headers for a server behind a reverse proxy.
            device: Where a model that the index loads itself runs (``"cpu"``, ``"cuda"``,
                ``"mps"``); the best there is by default.
            stemmer: Snowball language whose word endings a hybrid search ignores; None compares
                whole words, which is better for titles and names.
            scoring_device: Where all pages are scored: ``"cpu"``, or ``"cuda"`` to hold them on a
                GPU (``"cuda:1"``: on that one); without it that of ``METAEMBED_SCORING_DEVICE``, or
                else the GPU on which the model runs. fp16 vectors are always scored on the CPU.

        Raises:
            IndexNotFoundError: There is none and ``create`` is false.
            ModelMismatchError: The index was made with another model.
            StoreError: It cannot be opened.
        """

        def new() -> CollectionModel:
            nonlocal encoder
            encoder = encoder or _load_encoder(DEFAULT_MODEL, device)
            return _about(encoder, vectors, format, dimension)

        scoring = checked_device(scoring_device or os.environ.get(SCORING, ""))
        store = ChromaStore.open(
            where,
            new if create else None,
            collection=collection,
            headers=headers,
        )
        if encoder is not None:
            _check_model(store, encoder)
        _check_storage(store, vectors=vectors, format=format, dimension=dimension)
        lexical = LexicalCache(store, _lexical_folder(store, stemmer), stemmer)
        folder = _picture_folder(store, pictures)
        return cls(store, encoder, folder, lexical, device, scoring)

    @property
    def encoder(self) -> Encoder:
        """The model, loaded by the name that the index recorded when none was given."""
        if self._encoder is None:
            encoder = _load_encoder(self._store.about.model, self._device)
            _check_model(self._store, encoder)
            self._encoder = encoder
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
        if batch_size < 1:
            raise StoreError(f"batch_size must be at least 1, not {batch_size}")
        if mode not in get_args(Mode):
            raise ModelError(f"mode {mode!r} is not one of {', '.join(get_args(Mode))}")
        report = AddReport()
        with (
            self._store.writing(lock_timeout),
            page_counter(progress, shown=show_progress, total=lambda: _length(pages)) as count,
            self._adding(mode, ocr, report, count) as adding,
        ):
            mark = self._store.mark()
            for batch in adding.batches(pages, batch_size):
                adding.batch(batch)
            adding.finish()
            self._searcher.follow(mark, adding.changed)
        return report

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
        named = [paths] if isinstance(paths, str | Path) else list(paths)
        skipped: list[PageError] = []
        ignored: list[Path] = []
        unchanged = 0

        def skip(source: str, digest: str) -> bool:
            nonlocal unchanged
            if Path(source).is_relative_to(self._pictures.folder.resolve()):
                return True  # our own pictures are no pages, even where their folder is named
            stored = self._pages_of_unchanged(source, digest, mode)
            unchanged += stored
            if stored and count is not None:
                count(stored)
            return stored > 0

        pages = load_pages(
            named, on_skip=skipped.append, on_ignore=ignored.append, skip=skip, **load_options
        )
        bar = page_counter(
            progress, shown=show_progress, total=lambda: count_pages(list_files(named))
        )
        with self._store.writing(lock_timeout), bar as count:
            report = self.add(pages, mode=mode, batch_size=batch_size, ocr=ocr, progress=count)
            report.removed += self._remove_vanished(named)
        report.unchanged += unchanged
        report.skipped = skipped + report.skipped
        report.ignored = ignored
        return report

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
        if where is not None and not where:
            raise StoreError("an empty filter would delete every page; name the pages to delete")
        if sum(value is not None for value in (ids, source, where)) != 1:
            raise StoreError("name the pages to delete by exactly one of ids, source and where")
        with self._store.writing(lock_timeout):
            if ids is not None:
                found = list(self._store.get([ids] if isinstance(ids, str) else list(ids)))
            elif source is not None:
                found = self._ids_of_source(source)
            else:
                found = self._store.ids(where)
            self._remove(found)
        return len(found)

    # -- reading ---------------------------------------------------------------------------

    def search(self, query: Input, k: int = 5, **keywords: Unpack[SearchKeywords]) -> Hits:
        """Find the pages that answer a query.

        By default a cascade reads the vectors' mapped copy (see ``docs/search_speed.md``): all
        pages by their first vector, the best tenth by four, 3 % by sixteen, 1 % at the budget.

        Args:
            query: Text, a PIL image, or ``{"text": …, "image": …}`` for both in one query.
            k: At most so many hits.
            **keywords: ``budget``, ``r_q``, ``r_c``, ``candidates``, ``where``, ``exhaustive``,
                ``hybrid``, ``max_ms`` and ``min_recall``, as
                :class:`metaembed_rag.options.SearchOptions` explains them.

        Returns:
            Hits, best first, ties by page id; a score is MaxSim / r_q in [-1, 1], and in a hybrid
            search the fused score in [0, 1]. Their ``plan`` says how they were found.

        Raises:
            BudgetError: The budget asks for more vectors than there are, or ``"auto"`` for a
                calibration that there is not, or for more than it can give.
            MissingExtraError: The extra ``hybrid`` is needed and not installed.
            TypeError: Another keyword.
        """
        return self.search_batch([query], k, **keywords)[0]

    def search_batch(
        self, queries: Sequence[Input], k: int = 5, **keywords: Unpack[SearchKeywords]
    ) -> list[Hits]:
        """:meth:`search` for several queries, encoded and searched together."""
        options = SearchOptions.of(keywords, k)
        for query in queries:
            check_query(query)
        _ = self.encoder  # loaded here, if it has to be, and not in the time of a search
        start = time.perf_counter()
        vectors = self._query_vectors(queries)
        encoding = (time.perf_counter() - start) / max(1, len(queries))
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
        text: str = "",
        **keywords: Unpack[SearchKeywords],
    ) -> Hits:
        """:meth:`search` with the query's vectors at hand.

        Args:
            query_vectors: float32 unit vectors, shape (R_q, D).
            k: At most so many hits.
            text: The words that a hybrid search looks for.
            **keywords: As for :meth:`search`.
        """
        options = SearchOptions.of(keywords, k)
        return self._found(self._cut(query_vectors)[None], [text], options)[0]

    def score(
        self,
        query: Input,
        ids: Sequence[str | Page],
        *,
        budget: BudgetLike | None = None,
        mode: Mode = "fused",
        batch_size: int = 32,
        on_skip: Callable[[PageError], None] | None = None,
    ) -> Hits:
        """Rank given pages at a budget, for reranking another retriever's results.

        Args:
            query: As for :meth:`search`.
            ids: Page ids, or pages. An id that is not stored is left out. A page that the index
                holds with the same id, content and mode is scored by its stored vectors; any other
                is encoded for the occasion, cut and rounded as the index would store it, so that a
                score does not tell the two apart.
            budget: As for :meth:`search`; ``"auto"`` stands for all vectors here.
            mode: What is encoded of a page that is not stored.
            batch_size: Pages encoded at a time.
            on_skip: Called with the error of each page that has nothing to read, which is then left
                out; without it the error is raised.

        Returns:
            Hits, best first, ties by page id, with scores as those of :meth:`search`.
        """
        check_query(query)
        vectors = self._query_vectors([query])[0]
        options = SearchOptions(budget=budget)
        most = RetrievalBudget(len(vectors), self.vectors_per_page)
        chosen = options.fixed(RetrievalBudget.default() or most)
        check_budget(chosen, most)
        stored, others = self._split(ids, mode)
        readable, encoded = self._encoded(others, mode, batch_size, on_skip)
        hits = self._searcher.score(vectors, stored, chosen, readable, encoded)
        hits.query = query
        return hits

    def recall(
        self, queries: Sequence[Input], k: int = 10, **keywords: Unpack[SearchKeywords]
    ) -> float:
        """Share of the exhaustive top ``k`` that a search with these keywords finds.

        1.0 means that the approximation lost nothing at this budget; 1.0 also for an empty index.
        With ``budget="auto"``, the exhaustive twin has all vectors.
        """
        for query in queries:
            check_query(query)
        if not queries:
            return 1.0
        texts = [query_text(query) for query in queries]
        vectors = self._query_vectors(queries)
        quick = SearchOptions.of(keywords, k)
        every = RetrievalBudget(vectors.shape[1], self.vectors_per_page)
        exact = SearchOptions(
            k=k,
            budget=every if quick.is_auto else quick.resolved(every),
            where=quick.where,
            exhaustive=True,
            hybrid=quick.hybrid,
        )
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

    def get(self, ids: Sequence[str]) -> list[Page]:
        """The stored pages of those ids that exist, in the order of ``ids``."""
        found = self._store.get(list(ids))
        return self._searcher.with_pictures([found[id].page for id in ids if id in found])

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

    def _found(
        self, queries: NDArray[np.float32], texts: Sequence[str], options: SearchOptions
    ) -> list[Hits]:
        """The hits of each query, shape (queries, R_q, D); each with its share of the time."""
        most = RetrievalBudget(queries.shape[1], self.vectors_per_page)
        plan = plan_query(options, most, lambda o: self._calibration.plan_for(o, len(self)))
        return self._searcher.search(queries, texts, plan)

    def _split(self, given: Sequence[str | Page], mode: Mode) -> tuple[list[str], list[Page]]:
        """Ids to be scored by stored vectors, and pages to be encoded."""
        pages = {page.id: page for page in given if isinstance(page, Page)}
        stored = self._store.get(list(pages))
        same = {
            id
            for id, old in stored.items()
            if (old.content_hash, old.mode) == (pages[id].content_hash(), mode)
        }
        ids = [one if isinstance(one, str) else one.id for one in given]
        others = [page for id, page in pages.items() if id not in same]
        return [id for id in ids if id not in pages or id in same], others

    def _encoded(
        self,
        pages: Sequence[Page],
        mode: Mode,
        batch_size: int,
        on_skip: Callable[[PageError], None] | None,
    ) -> tuple[list[Page], Encoded | None]:
        """Those pages that can be read, with their vectors as the index would store them."""
        readable, inputs = [], []
        for page in pages:
            try:
                page, value = page_input(page, mode, self.encoder.modalities)
            except PageError as error:
                if on_skip is None:
                    raise
                on_skip(error)
            else:
                readable.append(page)
                inputs.append(value)
        if not readable:
            return [], None
        about = self._store.about
        vectors = self.encoder.encode_document(inputs, batch_size=batch_size)
        cut = cut_dimension(vectors[:, : about.vectors], about.dimension)
        return readable, vector_format(about.format).encode(cut)

    def _adding(
        self, mode: Mode, ocr: bool, report: AddReport, progress: Callable[[int], None] | None
    ) -> Adding:
        # The encoder is loaded only when there is something to encode.
        return Adding(
            self._store, self._pictures, lambda: self.encoder, mode, ocr, report, progress
        )

    def _scoring_device(self) -> str:
        """Where pages are scored: as asked for, or beside the model on its GPU."""
        device = getattr(self._encoder, "device", None)
        beside = str(device) if getattr(device, "type", "") == "cuda" else CPU
        return self._scoring or beside

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

    def _ids_of_source(self, source: str | Path) -> list[str]:
        found = self._store.ids({records.SOURCE: str(source)})
        return found or self._store.ids(
            {records.SOURCE: Path(source).expanduser().resolve().as_posix()}
        )

    def _pages_of_unchanged(self, source: str, digest: str, mode: str) -> int:
        """How many pages of a source are stored, if all are, and from these very bytes."""
        found = self._store.ids(
            {records.SOURCE: source, records.DIGEST: digest, records.MODE: mode}
        )
        if not found:
            return 0
        first = self._store.get(found[:1])[found[0]].page
        lost = first.image_path and not self._pictures.path(first.image_path).exists()
        return 0 if lost or len(found) != first.page_count else len(found)

    def _remove_vanished(self, paths: Sequence[str | Path]) -> int:
        """Remove pages of files that have gone from the named folders."""
        removed = 0
        for folder in (Path(path).expanduser().resolve() for path in paths):
            if not folder.is_dir() or not list_files(folder):
                continue
            gone = [id for id in self._store.ids() if _has_vanished(id, folder)]
            self._remove(gone)
            removed += len(gone)
        return removed

    def _remove(self, ids: Sequence[str]) -> None:
        """Delete pages; the lock is held."""
        if not ids:
            return
        mark = self._store.mark()
        remove_pages(self._store, self._pictures, ids)
        self._searcher.follow(mark, ids)


def _about(
    encoder: Encoder, vectors: int | None, format: str | None, dimension: int | None
) -> CollectionModel:
    count = encoder.document_vectors if vectors is None else vectors
    if not 1 <= count <= encoder.document_vectors:
        raise StoreError(
            f"{count} vectors a page cannot be stored: the model makes {encoder.document_vectors}"
        )
    name = vector_format(format or DEFAULT).name
    width = encoder.dimension if dimension is None else dimension
    trained = dimensions(encoder)
    if width not in trained:
        raise StoreError(
            f"vectors of {encoder.name!r} cannot be cut to {width} values: it was trained for "
            f"{', '.join(map(str, trained))}; use one of these, or leave the dimension out"
        )
    lasting = _lasting_name(encoder.name)
    pooling = str(getattr(encoder, "pooling", ""))
    return CollectionModel(lasting, encoder.fingerprint, width, count, name, pooling)


def _check_storage(store: ChromaStore, **asked: int | str | None) -> None:
    """Refuse to open an index as if it stored its vectors otherwise than it does."""
    spoken = {"vectors": "{} vectors a page", "format": "{} vectors", "dimension": "{} values"}
    for name, value in asked.items():
        stored = getattr(store.about, name)
        if value not in (None, stored):
            raise ModelMismatchError(
                f"the index at {store.where} stores {spoken[name].format(stored)}"
                f"{' a vector' if name == 'dimension' else ''}, not {value}; open it without "
                f"{name}=, or index again into another folder"
            )


def _check_model(store: ChromaStore, encoder: Encoder) -> None:
    if encoder.fingerprint != store.about.fingerprint:
        raise ModelMismatchError(
            f"the index at {store.where} was made with the model {store.about.model!r} "
            f"(fingerprint {store.about.fingerprint[:12]}), not with {encoder.name!r} "
            f"({encoder.fingerprint[:12]}): open it with that model, or index the files again "
            f"into another folder"
        )


def _load_encoder(name: str, device: str | None) -> Encoder:
    from metaembed_rag.model import MetaEmbedEncoder

    return MetaEmbedEncoder.from_pretrained(name, device=device)


def _lasting_name(name: str) -> str:
    """The name of a model by which it is found from any working folder."""
    from metaembed_rag.model.checkpoints import join_name, shipped_checkpoints, split_name

    bare, options = split_name(name)
    folder = Path(bare).expanduser()
    if not folder.is_dir() or bare in shipped_checkpoints():
        return name
    return join_name(str(folder.resolve()), options)


def _picture_folder(store: ChromaStore, given: str | Path | None) -> PictureFolder:
    if given is not None:
        return PictureFolder(Path(given))
    if store.picture_folder is not None:
        return PictureFolder(store.picture_folder)
    if not store.is_server:
        return PictureFolder.temporary()
    return PictureFolder(_cache_folder(store, "pictures"))


def _calibration_path(store: ChromaStore) -> Path | None:
    name = f"{store.name}.json"
    if store.calibration_folder is not None:
        return store.calibration_folder / name
    return _cache_folder(store, "calibration") / name if store.is_server else None


def _lexical_folder(store: ChromaStore, stemmer: str | None) -> Path | None:
    kind = stemmer or "plain"
    if store.lexical_folder is not None:
        return store.lexical_folder / store.name / kind
    return _cache_folder(store, "lexical") / kind if store.is_server else None


def _cache_folder(store: ChromaStore, what: str) -> Path:
    """Where this user keeps files of a server's collection."""
    import platformdirs

    place = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{store.where}_{store.name}")
    return Path(platformdirs.user_cache_dir("metaembed_rag")) / what / place


def _has_vanished(id: str, folder: Path) -> bool:
    """Whether ``id`` is of a page that :func:`load_pages` read below ``folder``, its file gone."""
    source = Path(id.rpartition("#")[0])
    if not source.is_absolute() or not source.is_relative_to(folder):
        return False
    try:
        return not source.exists()
    except OSError:
        return False  # a folder that may not be entered says nothing about its files


def _length(pages: Iterable[Page]) -> int | None:
    return len(pages) if isinstance(pages, Sized) else None
