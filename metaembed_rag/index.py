"""PageIndex: pages in, hits out.

pages -> encode -> Chroma          (add, sync)
query -> encode -> all pages coarsely, fewer finely, MaxSim at the budget -> hits   (search)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import BudgetLike
from metaembed_rag.errors import PageError, StoreError
from metaembed_rag.explaining import Asked, ExplainedIndex, Explainer
from metaembed_rag.hits import Hits
from metaembed_rag.ingest import AddOptions, AddReport, FollowKeywords, Ingest
from metaembed_rag.ingest.of_files import OfFiles
from metaembed_rag.ingest.of_index import EncodedIndex
from metaembed_rag.maintenance.of_index import MaintainedIndex
from metaembed_rag.metadata.languages import NONE, reading_of
from metaembed_rag.model.describing import DescribeLike
from metaembed_rag.model.inputs import Mode, Query
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.opening import IndexModel, Opened, OpenSettings, open_parts
from metaembed_rag.options import SearchKeywords, SearchOptions, page_ids
from metaembed_rag.pages import Page
from metaembed_rag.pages.reading import Ocr
from metaembed_rag.reopening import Reopening, portable
from metaembed_rag.retrieval import MeasuredIndex, Retrieval
from metaembed_rag.search.calibration import CalibrationFile, about_vectors
from metaembed_rag.search.lexical_cache import LexicalCache
from metaembed_rag.search.searcher import PageSearcher
from metaembed_rag.store.disk import DiskBytes
from metaembed_rag.store.given import ChromaClient


class PageIndex(OfFiles, EncodedIndex, MaintainedIndex, ExplainedIndex, MeasuredIndex):
    """An index of pages. Use :meth:`open`.

    It holds files and threads until :meth:`close`, the end of a ``with`` block, or the last
    reference to it. Threads may share one. A process that is forked from its own may not, nor open
    one itself: open indexes after the fork. It is pickled and copied by its place and its model:
    who receives it opens the same index again.
    """

    def __init__(self, opened: Opened, lexical: LexicalCache) -> None:
        self._store = opened.store
        self._model = IndexModel(opened)
        self._pictures = opened.pictures
        self._lexical = lexical
        self._calibration = CalibrationFile(
            self._store.places.calibration, about_vectors(self._store.about)
        )
        self._searcher = PageSearcher(
            self._store,
            lexical,
            self._pictures,
            self._model.scoring_device,
            self._calibration.unrelated,
        )
        self._retrieval = Retrieval(
            self._store, self._model, self._searcher, self._calibration, lexical
        )
        self._explainer = Explainer(self._store, self._model, self._searcher, lexical)
        self._ingest = Ingest(
            self._store, self._pictures, self._model.encoder, self._searcher.apply
        )
        self._opened_with: tuple[str | None, OpenSettings, Encoder | None] = (None, {}, None)

    @classmethod
    def open(
        cls,
        where: str | os.PathLike[str] | ChromaClient,
        encoder: Encoder | None = None,
        *,
        collection: str = "pages",
        create: bool = True,
        stemmer: str | None = "english",
        **settings: Unpack[OpenSettings],
    ) -> PageIndex:
        """Open an index, or make an empty one.

        Args:
            where: A folder, ``http(s)://host:port`` of a Chroma server,
                ``chroma-cloud://tenant/database``, ``":memory:"``, or an open client of
                ``chromadb``: of memory, a folder, a server or Chroma Cloud.
            encoder: The model. Without one, an existing index loads the model that made it when
                it is first needed, and a new one takes the shipped ``small``.
            collection: Name of the Chroma collection: one folder or server can hold several.
            create: Make an index where there is none.
            stemmer: Snowball language whose word endings a hybrid search ignores; None compares
                whole words, which is better for titles and names. ``language`` says more.
            **settings: How a new index stores vectors (``vectors``, ``format``, ``dimension``),
                how words are read (``language``; English where neither it nor the index says),
                where pictures lie (``pictures``), ``tenant``, ``database``, ``headers``,
                ``token``, ``auth``, ``verify`` and ``timeout`` of a server, and where model and
                scoring run (``device``, ``scoring_device``); see
                :class:`metaembed_rag.opening.OpenSettings` and ``docs/servers.md``.

        Raises:
            IndexNotFoundError: There is none and ``create`` is false.
            ModelMismatchError: The index was made with another model.
            StoreError: It cannot be opened, there is no such tenant or database, or ``where`` is
                no place: an address with a password in it, for example.
        """
        opened = open_parts(where, encoder, collection, create, settings)
        store, language = opened.store, opened.settings.get("language")
        reading = reading_of(language, stemmer, store.about.language)
        lexical = LexicalCache(store, store.places.lexical(reading), reading)
        index = cls(opened, lexical)
        index._opened_with = (stemmer, opened.settings, encoder)
        return index

    def close(self) -> None:
        """Release its files, threads and memory; again is no error.

        What other threads are asking is answered first. Afterwards every call that needs the
        index raises :class:`metaembed_rag.errors.IndexClosedError`. The encoder stays open.
        """
        self._searcher.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[Reopening], PageIndex], tuple[Reopening]]:
        """By place and model; a model that was loaded by its name is loaded again.

        Raises:
            StoreError: It is in memory, or its model was not loaded by a name.
        """
        stemmer, settings, encoder = self._opened_with
        return _opened_again, (Reopening.of(self._store, stemmer, settings, portable(encoder)),)

    def __deepcopy__(self, memo: dict[int, Any]) -> PageIndex:
        """Another object of the same index, with the same encoder.

        Raises:
            StoreError: It is in memory.
        """
        stemmer, settings, _ = self._opened_with
        return _opened_again(Reopening.of(self._store, stemmer, settings, self._model.loaded))

    @property
    def encoder(self) -> Encoder:
        """The model, loaded by the name that the index recorded when none was given.

        Raises:
            UnnamedModelError: That is a model on a server, one that would be downloaded or one
                without safetensors, and you have not named it for this index on this machine.
        """
        return self._model.encoder()

    @property
    def vectors_per_page(self) -> int:
        """Vectors stored a page: the largest r_c of a budget."""
        return self._store.about.vectors

    def __len__(self) -> int:
        return self._store.count()

    def info(self) -> dict[str, Any]:
        """What the index is: place, model, pages, vectors, bytes a page.

        ``tenant`` and ``database`` are in it where they are not Chroma's default ones; headers,
        tokens and passwords never are.
        """
        about = self._store.about
        return {
            "index": self._store.where,
            **self._store.places.tenancy,
            "collection": self._store.places.collection,
            "model": about.model,
            "fingerprint": about.fingerprint,
            "pooling": about.pooling or "none: the model makes ordered vectors",
            "pages": len(self),
            "vectors_per_page": about.vectors,
            "dimension": about.dimension,
            "vector_format": about.format,
            "bytes_per_page": about.bytes_per_page,
            "hybrid": about.hybrid or "off",
            "language": self._lexical.stemmer or NONE,
            "pictures": self._pictures.place,
        }

    def disk(self) -> DiskBytes:
        """What the index takes on this machine's disk, in bytes by kind; files are looked at."""
        return DiskBytes.of(self._store.places, self._pictures.folder)

    # -- writing ---------------------------------------------------------------------------

    def add(
        self,
        pages: Iterable[Page],
        *,
        mode: Mode = "fused",
        batch_size: int = 64,
        ocr: bool | Ocr = True,
        progress: Callable[[int], None] | None = None,
        show_progress: bool = False,
        lock_timeout: float = 0.0,
        describe: DescribeLike | None = None,
    ) -> AddReport:
        """Encode and store pages; those that are stored unchanged are not encoded again.

        A page replaces the one with the same id. Pages beyond the end of a source (its
        ``page_count``) are removed, and so is a page that has nothing to read any more. A batch is
        in the index when ``progress`` is called for it.

        Args:
            pages: For example :func:`metaembed_rag.load_pages`; consumed lazily, a batch at a
                time. Files are not taken, but read by it.
            mode: What of a page is encoded. Where a page lacks it, or the model cannot read it,
                the rest of the page serves (OCR text for a picture); see :func:`page_input`.
            batch_size: Pages encoded at a time.
            ocr: When pictures are read by OCR. ``"auto"`` (True): where the model needs their
                text, where the picture says more than a short text layer (a scan below a fax
                line), pictures inside of pages (charts), and where the text layer cannot be read.
                ``"always"``: every picture, beside its text too (captions on photos).
                ``"never"`` (False). See ``docs/ocr.md``. It applies to pages that are new or
                changed; what of a page could not be read is in the report's ``notes``.
            progress: Called with the number of pages done after each batch; the number's ``ids``
                are those of its pages that are in the index now, whatever becomes of this process
                (``acknowledged`` in the report).
            show_progress: Draw a bar: on standard error, or in the notebook.
            lock_timeout: Seconds to wait for another writer.
            describe: Who writes in words what is on a picture: a vision model behind an address
                with OpenAI's API (``"http://localhost:11434#llava"``), a function of a PIL image,
                or a :class:`metaembed_rag.model.Describer`. The words become part of the page's
                text and are encoded with it. Described are pictures, pages without text and those
                that show more than their text, each picture once. Where that fails, the page is
                in the report's ``notes``, or ``skipped`` without any other text.

        Raises:
            IndexLockedError: Another process is writing.
            MetadataError: A page's metadata cannot be stored (see ``docs/filters.md``). Nothing is
                written then where ``pages`` is a list, of an iterator the batches before.
            ModelError: The model does not give what it announces; or ``describe`` names nobody
                who answers, which is found at the first picture, before its batch is written.
            PageError: Something else than pages was given.
            MetaEmbedError: The model or the store failed.
        """
        options = AddOptions(mode, batch_size, ocr, progress, show_progress, lock_timeout, describe)
        return self._ingest.add(pages, options)

    def sync(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        mode: Mode = "fused",
        batch_size: int = 64,
        ocr: bool | Ocr = True,
        progress: Callable[[int], None] | None = None,
        show_progress: bool = False,
        lock_timeout: float = 0.0,
        describe: DescribeLike | None = None,
        **keywords: Unpack[FollowKeywords],
    ) -> AddReport:
        """Bring the index in line with files and folders.

        New and changed files are read, unchanged ones are not even opened for rendering, and
        files that have gone from a named folder lose their pages. Not where a whole sub-folder is
        missing or empty, or the named folder, as an unmounted disk is: ``prune`` removes those
        too. Unreadable files are listed in the report and the rest goes on.

        Args:
            paths: Files and folders.
            mode: As for :meth:`add`, and so are ``batch_size``, ``ocr``, ``progress``,
                ``show_progress``, ``lock_timeout`` and ``describe``; what is stored is described
                too, when ``describe`` names somebody for the first time.
            **keywords: ``prune`` and ``reread``, and ``password``, ``max_side`` and ``limits`` of
                :func:`metaembed_rag.load_pages`; see :class:`.FollowKeywords`.
        """
        options = AddOptions(mode, batch_size, ocr, progress, show_progress, lock_timeout, describe)
        return self._ingest.sync(paths, options, keywords)

    # -- reading ---------------------------------------------------------------------------

    def search(self, query: Query, k: int = 5, **keywords: Unpack[SearchKeywords]) -> Hits:
        """Find the pages that answer a query.

        By default a cascade reads the vectors' mapped copy (see ``docs/search_speed.md``): all
        pages by their first vector, the best tenth by four, 3 % by sixteen, 1 % at the budget.

        Args:
            query: Text, a PIL image, or ``{"text": …, "image": …}`` for both in one query. A
                picture can also be bytes, an open file (an upload, too) or a ``Path``.
            k: At most so many hits.
            **keywords: ``budget``, ``r_q``, ``r_c``, ``candidates``, ``where``, ``exhaustive``,
                ``hybrid``, ``max_ms`` and ``min_recall``, as
                :class:`metaembed_rag.options.SearchOptions` explains them.

        Returns:
            Hits, best first, ties by page id. Where words took part (``scoring`` is ``"hybrid"``,
            what an index of this version does by itself where it can) a score is the fused one in
            [0, 1], beside ``maxsim`` and ``bm25``; else it is MaxSim / r_q in [-1, 1]. Their
            ``plan`` says how they were found, and their ``note`` that the filter lets no page
            pass. A page whose record is damaged is left out, and a warning names it.

        Raises:
            BudgetError: The budget asks for more vectors than there are, or ``"auto"`` for a
                calibration that there is not, or for more than it can give.
            MissingExtraError: A hybrid search was asked for, other than by ``"auto"``, and the
                extra ``hybrid`` is not installed.
            TypeError: Another keyword.
        """
        return self.search_batch([query], k, **keywords)[0]

    def search_batch(
        self, queries: Sequence[Query], k: int = 5, **keywords: Unpack[SearchKeywords]
    ) -> list[Hits]:
        """:meth:`search` for several queries, encoded and searched together."""
        options = SearchOptions.of(keywords, k)
        found = self._retrieval.search(queries, options)
        for hits in found:
            self._explainer.complete(hits, Asked.of(hits.query), snippets=options.snippets)
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
        hits = self._retrieval.search_vectors(query_vectors, text, options)
        asked = Asked(None, self._model.cut(np.asarray(query_vectors, dtype=np.float32)), text)
        self._explainer.complete(hits, asked, snippets=options.snippets)
        return hits

    def score(
        self,
        query: Query,
        ids: Iterable[str | Page],
        *,
        budget: BudgetLike | None = None,
        mode: Mode = "fused",
        batch_size: int = 32,
        on_skip: Callable[[PageError], None] | None = None,
        snippets: bool | None = None,
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
            snippets: As for :meth:`search`, of pages that are stored.

        Returns:
            Hits, best first, ties by page id, with scores as those of :meth:`search` by vectors
            alone: words never count here, whatever the index says.
        """
        options = SearchOptions(budget=budget)
        hits = self._retrieval.score(
            query, ids, options, mode=mode, batch_size=batch_size, on_skip=on_skip
        )
        self._explainer.complete(hits, Asked.of(hits.query), snippets=snippets)
        return hits

    def get(self, ids: Sequence[str], *, pictures: bool = True) -> list[Page]:
        """The stored pages of those ids that exist, in the order of ``ids``.

        Args:
            ids: Page ids.
            pictures: Whether the pages come with the paths of their pictures, which are fetched
                where they lie in an object store.
        """
        ids = page_ids(ids)
        found = self._store.get(ids, vectors=False)
        pages = [found[id].page for id in ids if id in found]
        if not pictures:
            return [replace(page, image_path=None) for page in pages]
        return self._searcher.with_pictures(pages)

    def ids(self, where: Mapping[str, Any] | None = None) -> list[str]:
        """Ids of all pages, or of those that match a filter, sorted; of damaged ones, too."""
        return self._store.ids(where)

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """The stored vectors of pages, float32 of shape (pages, R, D), as the format rounds them.

        Raises:
            StoreError: An id is not stored.
        """
        ids = page_ids(ids)
        found = self._store.get(ids)
        missing = [id for id in ids if id not in found]
        if missing:
            raise StoreError(f"no page with the id {missing[0]!r} ({len(missing)} missing)")
        return self._store.about.unpack([found[id] for id in ids]).decode()


def _opened_again(how: Reopening) -> PageIndex:
    """The index that was pickled or copied; it has to be there."""
    given: dict[str, Any] = {"collection": how.collection, "stemmer": how.stemmer, **how.settings}
    return PageIndex.open(how.where, how.load_encoder(), create=False, **given)
