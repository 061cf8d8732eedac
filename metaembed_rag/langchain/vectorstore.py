"""LangChain's vector store face of a page index."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever
from numpy.typing import NDArray

from metaembed_rag.adapters import in_search_thread
from metaembed_rag.errors import MetadataError, ModelError, PageError, StoreError
from metaembed_rag.hits import Hits
from metaembed_rag.index import PageIndex
from metaembed_rag.langchain.documents import MAX_SIDE, document_to_page, page_to_document
from metaembed_rag.langchain.embeddings import MetaEmbedEmbeddings
from metaembed_rag.langchain.filters import index_filter
from metaembed_rag.langchain.searching import (
    KEYWORDS,
    hit_document,
    keywords_of,
    options_of,
    search,
    search_vectors,
)
from metaembed_rag.model.inputs import Input, Mode
from metaembed_rag.options import check_keywords
from metaembed_rag.pages import Page
from metaembed_rag.vectors.maxsim import maxsim_batch

_RETRIEVER_KEYWORDS = ("k", *KEYWORDS, "score_threshold", "fetch_k", "lambda_mult")


class MetaEmbedVectorStore(VectorStore):
    """Documents as pages with ordered multi-vectors, searched at a retrieval budget.

    A document with ``image_path`` in its metadata is encoded with that picture, which is kept
    beside the index: documents come back with the path of the kept one, and with a
    ``content_hash``. All other metadata come back as they were given; what Chroma cannot hold
    (None, dictionaries) cannot be filtered on. Documents without a page number can be filtered on
    anything else.

    Every search, and ``as_retriever(search_kwargs={…})``, takes ``k`` and the keywords of
    :class:`MetaEmbedRetriever`; any other raises a ``TypeError``. Queries may be pictures, or text
    and picture, as the retriever's; its ``retrieval_plan`` is here too. A score is MaxSim / r_q in
    [-1, 1], a relevance score (MaxSim / r_q + 1) / 2 in [0, 1]; a hybrid search's fused score is in
    [0, 1] and is both.

    Every method has its async twin, which runs in a thread and leaves the event loop free.

    Args:
        index: The pages; also one that was filled by other means.
        mode: What of a document is encoded; see :meth:`metaembed_rag.PageIndex.add`.
        max_side: Longest side of a picture in pixels; larger ones are scaled down.
        on_skip: Called with the error of each document that has nothing to encode or whose
            picture cannot be opened, and the rest goes on; without it, the rest is stored and the
            error is raised.
        **options: Defaults of the searches' keywords. A ``filter`` here holds for every search, and
            a search's own narrows it; ``get_by_ids`` and ``delete`` see everything.
    """

    def __init__(
        self,
        index: PageIndex,
        *,
        mode: Mode = "fused",
        max_side: int = MAX_SIDE,
        on_skip: Callable[[PageError], None] | None = None,
        **options: Any,
    ) -> None:
        self.index = index
        self.mode: Mode = mode
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
        documents: list[Document],
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int = 64,
        **kwargs: Any,
    ) -> list[str]:
        """Encode and store documents; those that are stored unchanged are not encoded again.

        Args:
            documents: Texts, pictures (``image_path`` in the metadata), or both.
            ids: Over the documents' own ids; a document with neither gets a new one. A document
                replaces the one with the same id.
            batch_size: Documents encoded at a time.
            **kwargs: None.

        Returns:
            The ids of the documents that were stored.

        Raises:
            MetadataError: Metadata that cannot be stored, or a wrong number of ids.
            PageError: Documents cannot be read, and there is no ``on_skip``; the others are
                stored.
        """
        check_keywords(kwargs, ("ids", "batch_size"))
        chosen = _ids(documents, ids)
        failed: dict[str, PageError] = {}
        pages = self._pages(documents, chosen, failed)
        report = self.index.add(pages, mode=self.mode, batch_size=batch_size)
        failed |= {error.source: error for error in report.unread}
        self._report(list(failed.values()), len(documents))
        return [id for id in chosen if id not in failed]

    def add_images(
        self,
        uris: Sequence[str | Path],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[str]:
        """Encode and store picture files; their ``source`` is the path unless metadata name one.

        Returns:
            The ids of the pictures that were stored.

        Raises:
            MetadataError: Wrong numbers of metadata or ids.
            PageError: As for :meth:`add_documents`.
        """
        return self.add_documents(_image_documents(uris, metadatas), ids=ids)

    async def aadd_images(
        self,
        uris: Sequence[str | Path],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
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

        Ids that do not exist do not matter.
        """
        check_keywords(kwargs, ("filter",))
        if ids is None and filter is None:
            ids = self.index.ids()
        self.index.delete(ids=ids, where=None if filter is None else index_filter(filter))
        return True

    # -- reading ---------------------------------------------------------------------------

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents of those ids that exist, in the order of ``ids``."""
        return [page_to_document(page) for page in self.index.get(ids)]

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
        return self._diverse(self._search(query, max(k, fetch_k), kwargs), k, lambda_mult)

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
        return self._diverse(hits, k, lambda_mult)

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
        own = tuple(name for name in _NarrowingRetriever.model_fields if name != "vectorstore")
        check_keywords(kwargs, (*own, *_RETRIEVER_KEYWORDS))
        search_kwargs = dict(kwargs.pop("search_kwargs", None) or {})
        search_kwargs |= {key: kwargs.pop(key) for key in _RETRIEVER_KEYWORDS if key in kwargs}
        check_keywords(search_kwargs, _RETRIEVER_KEYWORDS)
        tags = kwargs.pop("tags", None) or self._get_retriever_tags()
        return _NarrowingRetriever(
            vectorstore=self, tags=tags, search_kwargs=search_kwargs, **kwargs
        )

    # -- from nothing ----------------------------------------------------------------------

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        where: str | Path = ":memory:",
        collection: str = "pages",
        vectors: int | None = None,
        **kwargs: Any,
    ) -> MetaEmbedVectorStore:
        """Open an index, or make one, and store texts in it.

        Args:
            texts: Page contents.
            embedding: A :class:`MetaEmbedEmbeddings`.
            metadatas: One a text.
            ids: One a text.
            where: Folder, server or ``":memory:"``, as for :meth:`metaembed_rag.PageIndex.open`.
            collection: Name of the collection.
            vectors: Vectors stored a document.
            **kwargs: As for the constructor.

        Raises:
            ModelError: ``embedding`` is of another kind.
        """
        if not isinstance(embedding, MetaEmbedEmbeddings):
            raise ModelError(
                f"a MetaEmbedVectorStore needs MetaEmbedEmbeddings, which make ordered vectors, "
                f"not {type(embedding).__name__}"
            )
        index = PageIndex.open(where, embedding.encoder, collection=collection, vectors=vectors)
        store = cls(index, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)  # type: ignore[arg-type]
        return store

    # -- inner -----------------------------------------------------------------------------

    def _search(self, query: Input, k: int, keywords: Mapping[str, Any]) -> Hits:
        return search(self.index, query, k, options_of(keywords).over(self.options))

    def _search_by_vector(self, embedding: Any, k: int, keywords: Mapping[str, Any]) -> Hits:
        vectors = _unit_vectors(embedding, self.index.info()["dimension"])
        return search_vectors(self.index, vectors, k, options_of(keywords).over(self.options))

    def _diverse(self, hits: Hits, k: int, lambda_mult: float) -> list[Document]:
        """Greedy choice of hits by relevance less the likeness to what is chosen already."""
        if not hits:
            return []
        budget = hits.budget
        vectors = self.index.vectors([hit.page.id for hit in hits])  # (hits, R, D)
        r_q = min(budget.r_q, vectors.shape[1])
        sums = maxsim_batch(vectors[:, :r_q], vectors[:, : budget.r_c])
        likeness = (sums / r_q + 1) / 2  # (hits, hits)
        relevance = np.array([_relevance(hit.score, hits) for hit in hits])
        chosen: list[int] = []
        while len(chosen) < min(k, len(hits)):
            repeated = likeness[:, chosen].max(axis=1) if chosen else np.zeros(len(hits))
            value = lambda_mult * relevance - (1 - lambda_mult) * repeated
            value[chosen] = -np.inf
            chosen.append(int(value.argmax()))
        return [hit_document(hits, hits[i]) for i in chosen]

    def _similarity_search_with_relevance_scores(
        self, query: Input, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        hits = self._search(query, k, kwargs)
        return [(hit_document(hits, hit), _relevance(hit.score, hits)) for hit in hits]

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


class _NarrowingRetriever(VectorStoreRetriever):
    """Its filter holds for every call, and a call's budget takes the place of its own.

    LangChain's own lets a call's filter replace the retriever's, and mixes two budgets.
    """

    def _get_relevant_documents(
        self, query: Any, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return super()._get_relevant_documents(
            query, run_manager=run_manager, **self._narrowed(kwargs)
        )

    async def _aget_relevant_documents(
        self, query: Any, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return await super()._aget_relevant_documents(
            query, run_manager=run_manager, **self._narrowed(kwargs)
        )

    def _narrowed(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The call's keywords, and None for those of the retriever that they set aside."""
        call, own = (
            options_of({name: given[name] for name in KEYWORDS if name in given})
            for given in (kwargs, self.search_kwargs)
        )
        return {**kwargs, **keywords_of(call.over(own))}


def _documents(hits: Hits) -> list[Document]:
    return [hit_document(hits, hit) for hit in hits]


def _relevance(score: float, hits: Hits) -> float:
    """A score in [0, 1]: MaxSim / r_q from [-1, 1], or the fused score as it is."""
    return score if hits.scoring == "hybrid" else (score + 1) / 2


def _ids(documents: Sequence[Document], given: Sequence[str | None] | None) -> list[str]:
    if given is not None and len(given) != len(documents):
        raise MetadataError(f"{len(given)} ids were given for {len(documents)} documents")
    chosen = given if given is not None else [None] * len(documents)
    return [
        id or document.id or str(uuid.uuid4())
        for id, document in zip(chosen, documents, strict=True)
    ]


def _image_documents(
    uris: Sequence[str | Path], metadatas: Sequence[Mapping[str, Any]] | None
) -> list[Document]:
    if metadatas is not None and len(metadatas) != len(uris):
        raise MetadataError(f"{len(metadatas)} metadata were given for {len(uris)} pictures")
    return [
        Document("", metadata={"source": str(uri), **metadata, "image_path": str(uri)})
        for uri, metadata in zip(uris, metadatas or [{}] * len(uris), strict=True)
    ]


def _unit_vectors(embedding: Any, dimension: int) -> NDArray[np.float32]:
    vectors = np.atleast_2d(np.asarray(embedding, dtype=np.float32))  # (r_q, D)
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise StoreError(
            f"an embedding of the shape {np.shape(embedding)} was given; the index needs "
            f"{dimension} numbers, or rows of so many: embed the query with its own model"
        )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise StoreError("the embedding holds a vector of zeros, or numbers that are not finite")
    unit: NDArray[np.float32] = vectors / lengths
    return unit
