"""A page index as a LlamaIndex vector store."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, Unpack

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores import MetadataFilters
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from metaembed_rag.adapters import ImageLike, SearchFields, in_search_thread, warn_of_incomplete
from metaembed_rag.budget import parse_or_auto
from metaembed_rag.errors import StoreError
from metaembed_rag.hits import Hits
from metaembed_rag.index import PageIndex
from metaembed_rag.llama_index.filters import filters_to_where
from metaembed_rag.llama_index.nodes import (
    KEPT_APART,
    hit_to_node,
    node_to_page,
    page_to_node,
    plain_metadata,
    shown_score,
)
from metaembed_rag.llama_index.pickling import PickledWhole
from metaembed_rag.llama_index.retriever import MetaEmbedRetriever
from metaembed_rag.llama_index.searching import (
    MetaEmbedQueryBundle,
    bundle_query,
    doc_ids_to_where,
    scoring_options,
    search_pages,
)
from metaembed_rag.llama_index.tracing import tell
from metaembed_rag.model.inputs import Mode
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.opening import SERVER, ServerKeywords
from metaembed_rag.options import (
    SCORING_KEYWORDS,
    HybridLike,
    ScoringKeywords,
    SearchOptions,
    all_of,
    is_optional,
)
from metaembed_rag.store.given import ChromaClient
from metaembed_rag.store.places import MEMORY, is_server

_log = logging.getLogger(__name__)


class StoreSideEmbedding(BaseEmbedding):
    """An embedding model that computes nothing, for use with :class:`MetaEmbedVectorStore`.

    LlamaIndex wants every node to have an embedding before it reaches a store. This store makes
    all vectors of a node itself, so a model in front of it would encode everything twice. The
    embeddings are empty lists, which any other vector store refuses.
    """

    model_name: str = "made by the vector store"

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it."""
        return "StoreSideEmbedding"

    def _get_query_embedding(self, query: str) -> Embedding:
        return []

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return []

    def _get_text_embedding(self, text: str) -> Embedding:
        return []

    def __call__(self, nodes: Iterable[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Give nodes empty embeddings, as a step of an ingestion pipeline."""
        return super().__call__(list(nodes), **kwargs)

    async def acall(self, nodes: Iterable[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Leave the nodes without embeddings; see :meth:`__call__`."""
        return self(nodes, **kwargs)


class StoreKeywords(ScoringKeywords, ServerKeywords, total=False):
    """How pages are scored, how a Chroma server is asked, and the fields that every vector store of
    LlamaIndex has."""

    stores_text: bool
    is_embedding_query: bool


class MetaEmbedVectorStore(PickledWhole, BasePydanticVectorStore, SearchFields):
    """Nodes with all their vectors in a :class:`metaembed_rag.PageIndex`.

    For ``VectorStoreIndex``, ``StorageContext`` and ``IngestionPipeline``. A node's text, picture
    and metadata are stored; :attr:`embed_model` is the embedding model to use with it. A node that
    is added again is encoded only if its text or its picture changed. Async methods run in a
    thread.

    Args:
        index: The pages; or say where it is:
        where: A folder, ``http(s)://host:port`` of a Chroma server, ``":memory:"``, or an open
            client of Chroma.
        collection: Name of the Chroma collection.
        encoder: The model; see :meth:`metaembed_rag.PageIndex.open`.
        mode: What of a node is encoded: ``fused``, ``image`` or ``text``.
        **options: ``budget``, ``r_q``, ``r_c``, ``candidates``, ``exhaustive``, ``hybrid``,
            ``max_ms`` and ``min_recall`` where queries name none, as
            :class:`metaembed_rag.options.SearchOptions` explains them; each is a field. Beside
            ``where`` also ``tenant``, ``database``, ``headers``, ``token``, ``auth``, ``verify``
            and ``timeout`` of a server: of these only tenant and database are fields, so that no
            settings that are written down hold a secret; ``from_dict`` takes the others again, or
            the environment has them.

    Raises:
        StoreError: Neither ``index`` nor ``where`` was given.
        BudgetError: ``budget`` is none, or options exclude each other.
    """

    stores_text: bool = True
    is_embedding_query: bool = False  # queries are encoded here, from their text
    where: str = Field(description="Where the index is.")
    collection: str = Field(default="pages", description="Name of the Chroma collection.")
    tenant: str | None = Field(default=None, description="Of a Chroma server.")
    database: str | None = Field(default=None, description="Of that tenant.")
    mode: str = Field(default="fused", description="What of a node is encoded.")
    _index: PageIndex = PrivateAttr()

    def __init__(
        self,
        index: PageIndex | None = None,
        *,
        where: str | os.PathLike[str] | ChromaClient | None = None,
        collection: str = "pages",
        encoder: Encoder | None = None,
        mode: Mode = "fused",
        **options: Unpack[StoreKeywords],
    ) -> None:
        fields: dict[str, Any] = {**options}
        server: Any = {key: fields.pop(key) for key in SERVER & fields.keys()}
        if index is None:
            if where is None:
                raise StoreError("give the index, or where it is: MetaEmbedVectorStore(where=…)")
            index = PageIndex.open(where, encoder, collection=collection, **server)
        about = index.info()
        fields |= {
            "where": _from_anywhere(about["index"]),
            "tenant": about.get("tenant"),
            "database": about.get("database"),
            "collection": about["collection"],
            "mode": mode,
        }
        # Refused here, not at the first query.
        SearchOptions.of({name: fields[name] for name in SCORING_KEYWORDS if name in fields})
        if fields.get("budget") is not None:  # as text, so that the store's settings are JSON
            fields["budget"] = str(parse_or_auto(fields["budget"]))
        super().__init__(**fields)
        self._index = index

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it; ``from_dict`` opens the index again."""
        return "MetaEmbedVectorStore"

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """The store of :meth:`to_dict`.

        Raises:
            StoreError: That store's index was in memory, and no ``index`` is given.
        """
        if data.get("where") == MEMORY and "index" not in kwargs:
            raise StoreError(
                "the index of this store was in memory and is not in its settings: open it in a "
                "folder, or give from_dict(…, index=…)"
            )
        return super().from_dict(data, **kwargs)

    @property
    def client(self) -> PageIndex:
        """The page index."""
        return self._index

    @property
    def index(self) -> PageIndex:
        """The page index."""
        return self._index

    @property
    def embed_model(self) -> StoreSideEmbedding:
        """For ``VectorStoreIndex(embed_model=…)``, and the last step of a pipeline."""
        return StoreSideEmbedding()

    def as_retriever(self, **options: Any) -> MetaEmbedRetriever:
        """A retriever over the same pages, which also takes pictures; arguments are its own."""
        asked = {name: options.pop(name) for name in SCORING_KEYWORDS if name in options}
        chosen = SearchOptions.of(asked).over(scoring_options(self))
        scoring = {name: getattr(chosen, name) for name in SCORING_KEYWORDS}
        return MetaEmbedRetriever(self._index, **scoring, **options)

    # -- writing ---------------------------------------------------------------------------

    def add(self, nodes: Iterable[BaseNode], **kwargs: Any) -> list[str]:
        """Encode and store nodes; one with an id that is stored replaces it.

        A node with neither text nor a readable picture is left out, and logged as a warning.

        Args:
            nodes: Of any class, in any iterable; their embeddings are not used.
            **kwargs: For :meth:`metaembed_rag.PageIndex.add`: ``batch_size``, ``ocr``,
                ``describe``, …

        Returns:
            The ids of all nodes, in order.

        Raises:
            MetadataError: Metadata that cannot be stored; nothing is stored then.
            UnreadableFileError: A picture is missing or damaged.
        """
        nodes = list(nodes)
        for node in nodes:
            plain_metadata(node)  # of all of them, before anything is written
        report = self._index.add(map(node_to_page, nodes), mode=self.mode, **kwargs)  # type: ignore[arg-type]
        for error in report.unread:
            _log.warning("this node was not stored: %s", error)
        warn_of_incomplete(report)
        return [node.node_id for node in nodes]

    async def async_add(self, nodes: Iterable[BaseNode], **kwargs: Any) -> list[str]:
        """:meth:`add` in a thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document: of its id, or, for pages of a file, of its path."""
        self._index.delete(where=doc_ids_to_where([ref_doc_id]), **delete_kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """:meth:`delete` in a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    def delete_nodes(
        self,
        node_ids: Iterable[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete nodes by id, by filter, or those of these ids that pass the filter.

        Raises:
            StoreError: Neither was given, or a filter that every node passes; :meth:`clear` deletes
                everything.
        """
        where = filters_to_where(filters)
        if node_ids is None and not where:
            raise StoreError("name the nodes to delete by node_ids or filters; clear() deletes all")
        if node_ids is None:
            self._index.delete(where=where, **delete_kwargs)
        else:
            self._index.delete(self._ids(node_ids, filters), **delete_kwargs)

    async def adelete_nodes(
        self,
        node_ids: Iterable[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """:meth:`delete_nodes` in a thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    def clear(self) -> None:
        """Delete all nodes."""
        self._index.delete(everything=True)

    async def aclear(self) -> None:
        """:meth:`clear` in a thread."""
        await asyncio.to_thread(self.clear)

    # -- reading ---------------------------------------------------------------------------

    def get_nodes(
        self, node_ids: Iterable[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Stored nodes by id and filter; all of them without either. Unknown ids are left out."""
        return [page_to_node(page) for page in self._index.get(self._ids(node_ids, filters))]

    async def aget_nodes(
        self, node_ids: Iterable[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """:meth:`get_nodes` in a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    def query(  # type: ignore[override]  # LlamaIndex's takes any keyword, also misspelt ones
        self,
        query: VectorStoreQuery,
        *,
        image: ImageLike | None = None,
        **keywords: Unpack[ScoringKeywords],
    ) -> VectorStoreQueryResult:
        """Search by the query's text; from ``as_retriever(vector_store_kwargs={"r_q": 4, …})``.

        Args:
            query: Its ``query_str`` is encoded to all query vectors. A query that has only an
                embedding, a single vector, is searched at (1, r_c). Mode ``hybrid`` lets words
                count, with the weight ``1 - alpha`` where ``alpha`` is given.
            image: A picture beside the text, or instead of it.
            **keywords: Instead of the store's, as
                :class:`metaembed_rag.options.SearchOptions` explains them.

        Returns:
            Nodes, best first, with their scores and ids.

        Raises:
            BudgetError: The budget asks for more vectors than there are, or the calibration has
                no plan within the limits.
            StoreError: A mode, filter or keyword that is not supported.
        """
        asked: dict[str, Any] = {**keywords}
        unknown = sorted(set(asked) - set(SCORING_KEYWORDS))
        if unknown:
            raise StoreError(f"unknown vector_store_kwargs: {', '.join(unknown)}")
        asked["hybrid"] = _hybrid(query, asked.get("hybrid"))
        options = SearchOptions(where=filters_to_where(query.filters), **asked)
        if query.query_str or image is not None:
            bundle = MetaEmbedQueryBundle(query.query_str or "", image=image)
            hits = search_pages(
                self._index,
                bundle_query(bundle),
                query.similarity_top_k,
                options.over(scoring_options(self)),
                node_ids=self._restriction(query.node_ids),
                doc_ids=query.doc_ids,
            )
        else:
            hits = self._by_embedding(query, options)
        nodes = [hit_to_node(hits, hit) for hit in hits]
        return VectorStoreQueryResult(
            nodes=nodes,
            similarities=[
                shown_score(node, hit.score) for node, hit in zip(nodes, hits, strict=True)
            ],
            ids=[hit.page.id for hit in hits],
        )

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """:meth:`query` in a thread."""
        return await in_search_thread(self.query, query, **kwargs)

    # -- inner -----------------------------------------------------------------------------

    def _ids(self, node_ids: Iterable[str] | None, filters: MetadataFilters | None) -> list[str]:
        if node_ids is None:
            return self._index.ids(filters_to_where(filters))
        if filters is None:
            return list(node_ids)
        passing = set(self._index.ids(filters_to_where(filters)))
        return [id for id in node_ids if id in passing]

    def _restriction(self, node_ids: Sequence[str] | None) -> Sequence[str] | None:
        """The nodes that a query is restricted to; None where it is not.

        ``VectorStoreIndex.as_retriever`` always names the nodes that it keeps beside a store with
        texts: image and index nodes, or none at all. Taken at its word, it would find no text
        node once there is an image node.
        """
        if not node_ids:
            return None
        apart = set(self._index.ids({KEPT_APART: True}))
        return None if apart and apart <= set(node_ids) else node_ids

    def _by_embedding(self, query: VectorStoreQuery, options: SearchOptions) -> Hits:
        if query.query_embedding is None or not len(query.query_embedding):
            raise StoreError("the query has neither a text nor an embedding")
        if self._restriction(query.node_ids) is not None:
            raise StoreError("a query by embedding cannot name node_ids; give it a query_str")
        vector = np.asarray(query.query_embedding, dtype=np.float32)
        if vector.shape != (self._index.info()["dimension"],):
            raise StoreError(
                f"the query's embedding has {vector.size} numbers, the index stores vectors of "
                f"{self._index.info()['dimension']}: use the model of the index"
            )
        chosen = options.over(SearchOptions(r_q=1, r_c=self._index.vectors_per_page))
        where = all_of(chosen.where, doc_ids_to_where(query.doc_ids))
        keywords = replace(chosen, where=where).keywords
        return tell(self._index.search_vectors(vector[None], query.similarity_top_k, **keywords))


def _from_anywhere(where: str) -> str:
    """A place by which an index is found from any working folder."""
    return where if where == MEMORY or is_server(where) else str(Path(where).resolve())


def _hybrid(query: VectorStoreQuery, hybrid: HybridLike) -> HybridLike:
    """Whether words count, from the mode of a query and its ``alpha`` (0 words, 1 vectors)."""
    if query.mode == VectorStoreQueryMode.DEFAULT:
        return hybrid
    if query.mode != VectorStoreQueryMode.HYBRID:
        raise StoreError(
            f"the query mode {query.mode.value!r} is not supported; use 'default' or 'hybrid'"
        )
    if query.alpha is None:
        return True if not hybrid or is_optional(hybrid) else hybrid
    if not 0 < query.alpha < 1:
        raise StoreError(f"alpha is {query.alpha}: give a number over 0 (words) and under 1")
    return 1 - query.alpha
