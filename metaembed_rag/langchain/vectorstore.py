"""LangChain's vector store face of a page index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from metaembed_rag.adapters import in_search_thread, warn_of_incomplete
from metaembed_rag.errors import ModelError, PageError
from metaembed_rag.hits import Hits
from metaembed_rag.index import PageIndex
from metaembed_rag.langchain.documents import (
    MAX_SIDE,
    check_metadata,
    document_to_page,
    page_to_document,
)
from metaembed_rag.langchain.embeddings import MetaEmbedEmbeddings
from metaembed_rag.langchain.filters import index_filter
from metaembed_rag.langchain.given import (
    document_ids,
    image_documents,
    text_documents,
    unit_vectors,
)
from metaembed_rag.langchain.narrowing import NarrowingRetriever
from metaembed_rag.langchain.searching import (
    COMPARED,
    KEYWORDS,
    diverse_documents,
    hit_document,
    options_of,
    relevance,
    search,
    search_vectors,
)
from metaembed_rag.model.describing import DescribeLike, Describer
from metaembed_rag.model.inputs import Input, Mode
from metaembed_rag.opening import SERVER, SETTINGS
from metaembed_rag.options import SearchOptions, check_keywords
from metaembed_rag.pages import Ocr, Page
from metaembed_rag.pages.reading import ocr_policy
from metaembed_rag.store.given import ChromaClient

_RETRIEVER_KEYWORDS = ("k", *KEYWORDS, "score_threshold", "fetch_k", "lambda_mult")


class MetaEmbedVectorStore(VectorStore):
    """Documents as pages with ordered multi-vectors, searched at a retrieval budget.

    A document with ``image_path`` in its metadata is encoded with that picture, which is kept
    beside the index: documents come back with the path of the kept one, and with a
    ``content_hash``. All other metadata come back as they were given, dates and the like as text;
    what Chroma cannot hold (None, dictionaries) cannot be filtered on. Documents without a page
    number can be filtered on anything else.

    Every search, and ``as_retriever(search_kwargs={…})``, takes ``k`` and the keywords of
    :class:`MetaEmbedRetriever`; any other raises a ``TypeError``. Queries may be pictures, or text
    and picture, as the retriever's; its ``retrieval_plan`` is here too. A score is MaxSim / r_q in
    [-1, 1], a relevance score (MaxSim / r_q + 1) / 2 in [0, 1]; a hybrid search's fused score is in
    [0, 1] and is both. Searches by relevance score and by marginal relevance compare what they
    find with a threshold or with each other, so words count in them only where ``hybrid`` is given.

    Every method has its async twin, which runs in a thread and leaves the event loop free.

    Args:
        index: The pages; also one that was filled by other means.
        mode: What of a document is encoded; see :meth:`metaembed_rag.PageIndex.add`.
        ocr: When pictures are read by OCR; see there. What stays unread is logged as a warning.
        max_side: Longest side of a picture in pixels; larger ones are scaled down.
        on_skip: Called with the error of each document that has nothing to encode or whose
            picture cannot be opened, and the rest goes on; without it, the rest is stored and the
            error is raised.
        describe: Who describes pictures in words; see :meth:`metaembed_rag.PageIndex.add`.
        **options: Defaults of the searches' keywords. A ``filter`` here holds for every search, and
            a search's own narrows it; ``get_by_ids`` and ``delete`` see everything.
    """

    def __init__(
        self,
        index: PageIndex,
        *,
        mode: Mode = "fused",
        ocr: bool | Ocr = True,
        max_side: int = MAX_SIDE,
        on_skip: Callable[[PageError], None] | None = None,
        describe: DescribeLike | None = None,
        **options: Any,
    ) -> None:
        self.index = index
        self.describe = Describer.of(describe)
        self.mode: Mode = mode
        self.ocr: Ocr = ocr_policy(ocr)
        self.max_side = max_side
        self.on_skip = on_skip
        self.options = options_of(options)

    @property
    def embeddings(self) -> Embeddings:
        """The model, as embeddings that give the first vector."""
        return MetaEmbedEmbeddings(self.index.encoder)

    # -- writing ---------------------------------------------------------------------------

    def add_documents(
        self,
        documents: Iterable[Document],
        *,
        ids: Iterable[str | None] | None = None,
        batch_size: int = 64,
        **kwargs: Any,
    ) -> list[str]:
        """Encode and store documents; those that are stored unchanged are not encoded again.

        Args:
            documents: Texts, pictures (``image_path`` in the metadata), or both; like all that is
                added, in any iterable.
            ids: Over the documents' own ids; a document with neither gets a new one. A document
                replaces the one with the same id.
            batch_size: Documents encoded at a time.
            **kwargs: None.

        Returns:
            The ids of the documents that were stored.

        Raises:
            MetadataError: Metadata that cannot be stored, or a wrong number of ids: nothing is.
            PageError: Documents cannot be read, and there is no ``on_skip``; the others are
                stored.
        """
        check_keywords(kwargs, ("ids", "batch_size"))
        documents = list(documents)
        chosen = document_ids(documents, ids)
        for document, id in zip(documents, chosen, strict=True):
            check_metadata(document, id)  # of all of them, before anything is written
        failed: dict[str, PageError] = {}
        pages = self._pages(documents, chosen, failed)
        report = self.index.add(
            pages, mode=self.mode, batch_size=batch_size, ocr=self.ocr, describe=self.describe
        )
        failed |= {error.source: error for error in report.unread}
        warn_of_incomplete(report)
        self._report(list(failed.values()), len(documents))
        return [id for id in chosen if id not in failed]

    async def aadd_documents(self, documents: Iterable[Document], **kwargs: Any) -> list[str]:
        """:meth:`add_documents` in a thread."""
        return await asyncio.to_thread(self.add_documents, documents, **kwargs)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Encode and store texts.

        Args:
            texts: Page contents.
            metadatas: One a text.
            ids: One a text; those that are missing or None are new.
            **kwargs: As for :meth:`add_documents`.

        Returns:
            The ids of the texts that were stored.

        Raises:
            MetadataError: Wrong numbers of metadata or ids.
            PageError: As for :meth:`add_documents`.
        """
        return self.add_documents(text_documents(texts, metadatas), ids=ids, **kwargs)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """:meth:`add_texts` in a thread."""
        return await asyncio.to_thread(self.add_texts, texts, metadatas, ids=ids, **kwargs)

    def add_images(
        self,
        uris: Iterable[str | Path],
        metadatas: Iterable[Mapping[str, Any]] | None = None,
        ids: Iterable[str] | None = None,
    ) -> list[str]:
        """Encode and store picture files; their ``source`` is the path unless metadata name one.

        Returns:
            The ids of the pictures that were stored.

        Raises:
            MetadataError: Wrong numbers of metadata or ids.
            PageError: As for :meth:`add_documents`.
        """
        return self.add_documents(image_documents(uris, metadatas), ids=ids)

    async def aadd_images(
        self,
        uris: Iterable[str | Path],
        metadatas: Iterable[Mapping[str, Any]] | None = None,
        ids: Iterable[str] | None = None,
    ) -> list[str]:
        """:meth:`add_images` in a thread."""
        return await asyncio.to_thread(self.add_images, uris, metadatas, ids)

    def delete(
        self,
        ids: Sequence[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> bool:
        """Delete documents by id or by filter; without either all of them, as LangChain defines.

        Ids that do not exist do not matter; a filter that every page passes is refused.
        """
        check_keywords(kwargs, ("filter",))
        everything = ids is None and filter is None
        where = None if filter is None else index_filter(filter) or {}
        self.index.delete(ids=ids, where=where, everything=everything)
        return True

    # -- reading ---------------------------------------------------------------------------

    def get_by_ids(self, ids: Iterable[str], /) -> list[Document]:
        """The documents of those ids that exist, in the order of ``ids``."""
        return [page_to_document(page) for page in self.index.get(list(ids))]

    def similarity_search(self, query: Input, k: int = 4, **kwargs: Any) -> list[Document]:
        """The best documents for a query, best first."""
        return _documents(self._search(query, k, kwargs))

    def similarity_search_with_score(
        self, query: Input, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The best documents with their scores; higher is better."""
        hits = self._search(query, k, kwargs)
        return [(hit_document(hits, hit), hit.score) for hit in hits]

    def similarity_search_by_vector(
        self, embedding: Sequence[float] | Sequence[Sequence[float]], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """The best documents for a query's vector, or for its ordered vectors.

        Args:
            embedding: D numbers, as :meth:`MetaEmbedEmbeddings.embed_query` gives them, or r_q
                rows of them, as ``embed_query_vectors`` does; as many take part as are given.
            k: At most so many.
            **kwargs: As for :meth:`similarity_search`.

        Raises:
            StoreError: Another shape.
        """
        return _documents(self._search_by_vector(embedding, k, kwargs))

    def max_marginal_relevance_search(
        self, query: Input, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Documents that answer the query and repeat each other little.

        What two documents share is measured as what query and document share: by MaxSim at the
        budget, of the one's vectors against the other's.

        Args:
            query: As for :meth:`similarity_search`.
            k: At most so many.
            fetch_k: The best so many are chosen from.
            lambda_mult: 1 for relevance alone, 0 for diversity alone.
            **kwargs: As for :meth:`similarity_search`.
        """
        hits = self._search(query, max(k, fetch_k), kwargs, COMPARED)
        return diverse_documents(self.index, hits, k, lambda_mult)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float] | Sequence[Sequence[float]],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """:meth:`max_marginal_relevance_search` for a query's vector or vectors."""
        hits = self._search_by_vector(embedding, max(k, fetch_k), kwargs)
        return diverse_documents(self.index, hits, k, lambda_mult)

    async def asimilarity_search(self, query: Input, k: int = 4, **kwargs: Any) -> list[Document]:
        """:meth:`similarity_search` in a thread."""
        return await in_search_thread(self.similarity_search, query, k, **kwargs)

    async def asimilarity_search_with_score(
        self, query: Input, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """:meth:`similarity_search_with_score` in a thread."""
        return await in_search_thread(self.similarity_search_with_score, query, k, **kwargs)

    async def asimilarity_search_by_vector(
        self, embedding: Sequence[float] | Sequence[Sequence[float]], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """:meth:`similarity_search_by_vector` in a thread."""
        return await in_search_thread(self.similarity_search_by_vector, embedding, k, **kwargs)

    def as_retriever(self, **kwargs: Any) -> VectorStoreRetriever:
        """A retriever that calls this store.

        Args:
            **kwargs: ``search_type``, ``search_kwargs`` and what every retriever takes (``tags``,
                ``metadata``, ``name``); a search's keywords may also be given directly.

        A ``filter`` among them holds for every call: one given to ``invoke`` narrows it.

        Raises:
            TypeError: Another keyword.
        """
        own = tuple(name for name in NarrowingRetriever.model_fields if name != "vectorstore")
        check_keywords(kwargs, (*own, *_RETRIEVER_KEYWORDS))
        search_kwargs = dict(kwargs.pop("search_kwargs", None) or {})
        search_kwargs |= {key: kwargs.pop(key) for key in _RETRIEVER_KEYWORDS if key in kwargs}
        check_keywords(search_kwargs, _RETRIEVER_KEYWORDS)
        tags = kwargs.pop("tags", None) or self._get_retriever_tags()
        return NarrowingRetriever(
            vectorstore=self, tags=tags, search_kwargs=search_kwargs, **kwargs
        )

    # -- from nothing ----------------------------------------------------------------------

    @classmethod
    def from_documents(
        cls, documents: Iterable[Document], embedding: Embeddings, **kwargs: Any
    ) -> Self:
        """:meth:`from_texts` with the contents, metadata and ids of documents."""
        return super().from_documents(list(documents), embedding, **kwargs)

    @classmethod
    async def afrom_documents(
        cls, documents: Iterable[Document], embedding: Embeddings, **kwargs: Any
    ) -> Self:
        """:meth:`from_documents` in a thread."""
        return await super().afrom_documents(list(documents), embedding, **kwargs)

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings,
        metadatas: Iterable[Mapping[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        where: str | Path | ChromaClient = ":memory:",
        collection: str = "pages",
        vectors: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Open an index, or make one, and store texts in it.

        Args:
            texts: Page contents.
            embedding: A :class:`MetaEmbedEmbeddings`.
            metadatas: One a text.
            ids: One a text.
            where: Folder, server, ``":memory:"`` or client of Chroma, as for
                :meth:`metaembed_rag.PageIndex.open`.
            collection: Name of the collection.
            vectors: Vectors stored a document.
            **kwargs: As for the constructor; and those of :meth:`metaembed_rag.PageIndex.open`
                about a new index, pictures and a server: ``format``, ``pictures``, ``tenant``,
                ``database``, ``headers``, ``token``, ``auth``, ``verify``, …

        Raises:
            ModelError: ``embedding`` is of another kind.
        """
        if not isinstance(embedding, MetaEmbedEmbeddings):
            raise ModelError(
                f"a MetaEmbedVectorStore needs MetaEmbedEmbeddings, which make ordered vectors, "
                f"not {type(embedding).__name__}"
            )
        settings: Any = {key: kwargs.pop(key) for key in SETTINGS & kwargs.keys()}
        server: Any = {key: settings[key] for key in SERVER & settings.keys()}
        encoder = embedding.encoder_for(where, collection, **server)
        index = PageIndex.open(where, encoder, collection=collection, vectors=vectors, **settings)
        store = cls(index, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    # -- inner -----------------------------------------------------------------------------

    def _search(
        self, query: Input, k: int, keywords: Mapping[str, Any], below: SearchOptions | None = None
    ) -> Hits:
        """The hits by what the call says, over what the store does, over what stands ``below``."""
        options = options_of(keywords).over(self.options)
        return search(self.index, query, k, options if below is None else options.over(below))

    def _search_by_vector(self, embedding: Any, k: int, keywords: Mapping[str, Any]) -> Hits:
        vectors = unit_vectors(embedding, self.index.info()["dimension"])
        return search_vectors(self.index, vectors, k, options_of(keywords).over(self.options))

    def _similarity_search_with_relevance_scores(
        self, query: Input, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        hits = self._search(query, k, kwargs, COMPARED)
        return [(hit_document(hits, hit), relevance(hit.score, hits)) for hit in hits]

    async def _asimilarity_search_with_relevance_scores(
        self, query: Input, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        return await in_search_thread(
            self._similarity_search_with_relevance_scores, query, k, **kwargs
        )

    def _pages(
        self, documents: Iterable[Document], ids: Iterable[str], failed: dict[str, PageError]
    ) -> Iterator[Page]:
        for document, id in zip(documents, ids, strict=True):
            try:
                yield document_to_page(document, id, max_side=self.max_side)
            except PageError as error:
                failed[id] = error

    def _report(self, errors: Sequence[PageError], documents: int) -> None:
        if self.on_skip is not None:
            for error in errors:
                self.on_skip(error)
        elif errors:
            first = errors[0]
            raise type(first)(
                first.source,
                f"{first.reason}; {len(errors)} of {documents} documents could not be stored, the "
                f"others are: give the vector store an on_skip to go on without such documents",
            ) from first


def _documents(hits: Hits) -> list[Document]:
    return [hit_document(hits, hit) for hit in hits]
