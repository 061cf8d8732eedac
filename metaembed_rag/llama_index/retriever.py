"""A LlamaIndex retriever over a page index, at a retrieval budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, Unpack

from llama_index.core.base.base_multi_modal_retriever import MultiModalRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType
from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters

from metaembed_rag.adapters import SearchedIndex, in_search_thread
from metaembed_rag.budget import parse_or_auto
from metaembed_rag.llama_index.filters import filters_to_where
from metaembed_rag.llama_index.nodes import hit_to_node, shown_score
from metaembed_rag.llama_index.searching import (
    MetaEmbedQueryBundle,
    bundle_query,
    scoring_options,
    search_pages,
)
from metaembed_rag.options import SCORING_KEYWORDS, ScoringKeywords, all_of
from metaembed_rag.store import records


class RetrieverKeywords(ScoringKeywords, total=False):
    """How pages are scored, and what every retriever of LlamaIndex takes."""

    callback_manager: CallbackManager | None
    object_map: dict[str, Any] | None
    objects: list[Any] | None
    verbose: bool


_WITH_TEXT = MetadataFilter(key=records.TEXT, operator=FilterOperator.NE, value="")
_WITH_PICTURE = MetadataFilter(key=records.IMAGE_HASH, operator=FilterOperator.NE, value="")
"""Fields that every stored page has, empty where it has no text or no picture."""


class MetaEmbedRetriever(MultiModalRetriever):
    """Pages of a :class:`metaembed_rag.PageIndex` as nodes, best first.

    Few vectors choose pages, MaxSim at the budget ranks them; a node's score is MaxSim / r_q in
    [-1, 1], and the fused score in [0, 1] in a hybrid search, which it is by default where words
    can count; then both scores are in the metadata, ``maxsim_score`` and ``bm25_score``.
    Async retrieval runs in a thread, so
    it does not block the event loop. A plain ``QueryBundle`` works too; its
    ``custom_embedding_strs`` (from a query transform such as HyDE) make one query together, and
    its ``embedding`` is not used, because it is a single vector.

    It is a ``MultiModalRetriever``: ``text_to_image_retrieve`` and ``image_to_image_retrieve``
    give pages that have a picture, ``text_retrieve`` pages that have text.

    The budget is the first of these that is given: ``r_q`` and ``r_c`` of the query, ``budget`` of
    the query, ``r_q`` and ``r_c`` here, ``budget`` here, the environment variable
    ``METAEMBED_BUDGET``, all vectors that are stored. A limit (``max_ms``, ``min_recall``) asks for
    ``"auto"``: one of the query goes over any budget here, and a budget of the query over limits
    here. With ``"auto"``, the plan that was chosen is in the nodes' metadata as JSON:
    ``retrieval_plan``.

    Args:
        index: The pages; a :class:`metaembed_rag.FederatedIndex` searches several indexes as one:
            nodes have their ``shard`` in the metadata then, and ``missing_shards`` where some took
            no part.
        similarity_top_k: At most so many nodes.
        filters: Only pages with such metadata; ``source`` and ``page`` are fields too.
        node_ids: Only these pages; all of them are scored. An empty list gives no nodes.
        doc_ids: Only pages of these documents: files (the source of a page), or the documents of
            nodes in a :class:`MetaEmbedVectorStore`. An empty list gives no nodes.
        **options: ``budget``, ``r_q``, ``r_c``, ``candidates``, ``exhaustive``, ``hybrid``,
            ``max_ms``, ``min_recall`` and ``snippets`` (the passage that matched, as ``snippet`` in
            the metadata), as :class:`metaembed_rag.options.SearchOptions` explains them; each
            becomes an attribute. And LlamaIndex's ``callback_manager``, ``objects``,
            ``object_map``, ``verbose``.

    Raises:
        BudgetError: Limits beside a fixed budget. On retrieval, when the budget asks for more
            vectors than there are, or the calibration has no plan within the limits.
        StoreError: A filter that Chroma cannot apply.
        TypeError: Another keyword.
    """

    def __init__(
        self,
        index: SearchedIndex,
        *,
        similarity_top_k: int = 5,
        filters: MetadataFilters | None = None,
        node_ids: Iterable[str] | None = None,
        doc_ids: Iterable[str] | None = None,
        **options: Unpack[RetrieverKeywords],
    ) -> None:
        given: dict[str, Any] = {**options}
        scoring = {name: given.pop(name, None) for name in SCORING_KEYWORDS}
        super().__init__(**given)
        self.index = index
        self.similarity_top_k = similarity_top_k
        self.filters = filters
        self.node_ids = None if node_ids is None else list(node_ids)
        self.doc_ids = None if doc_ids is None else list(doc_ids)
        vars(self).update(scoring, budget=parse_or_auto(scoring["budget"]))
        # What cannot work is refused here and not at the first query.
        scoring_options(self)
        filters_to_where(filters)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        bundle = _with_options(query_bundle)
        k = self.similarity_top_k if bundle.similarity_top_k is None else bundle.similarity_top_k
        where = all_of(filters_to_where(self.filters), filters_to_where(bundle.filters))
        options = replace(bundle.options.over(scoring_options(self)), where=where)
        hits = search_pages(
            self.index,
            bundle_query(bundle),
            k,
            options,
            node_ids=self.node_ids,
            doc_ids=self.doc_ids,
        )
        found = [(hit_to_node(hits, hit, scored=True), hit.score) for hit in hits]
        return [NodeWithScore(node=node, score=shown_score(node, score)) for node, score in found]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await in_search_thread(self._retrieve, query_bundle)

    # -- as a MultiModalRetriever ----------------------------------------------------------

    def text_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Pages that have text."""
        return self.retrieve(_narrowed(str_or_query_bundle, _WITH_TEXT))

    def text_to_image_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Pages that have a picture, for a text."""
        return self._text_to_image_retrieve(_bundle(str_or_query_bundle))

    def image_to_image_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Pages that have a picture, for a picture: its path, or a bundle with an image."""
        return self._image_to_image_retrieve(_picture_bundle(str_or_query_bundle))

    async def atext_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """:meth:`text_retrieve` without blocking the event loop."""
        return await self.aretrieve(_narrowed(str_or_query_bundle, _WITH_TEXT))

    async def atext_to_image_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """:meth:`text_to_image_retrieve` without blocking the event loop."""
        return await self._atext_to_image_retrieve(_bundle(str_or_query_bundle))

    async def aimage_to_image_retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """:meth:`image_to_image_retrieve` without blocking the event loop."""
        return await self._aimage_to_image_retrieve(_picture_bundle(str_or_query_bundle))

    def _text_to_image_retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self.retrieve(_narrowed(query_bundle, _WITH_PICTURE))

    def _image_to_image_retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self.retrieve(_narrowed(query_bundle, _WITH_PICTURE))

    async def _atext_to_image_retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await self.aretrieve(_narrowed(query_bundle, _WITH_PICTURE))

    async def _aimage_to_image_retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await self.aretrieve(_narrowed(query_bundle, _WITH_PICTURE))


def _bundle(query: QueryType) -> QueryBundle:
    return QueryBundle(query) if isinstance(query, str) else query


def _picture_bundle(query: QueryType) -> QueryBundle:
    return QueryBundle("", image_path=query) if isinstance(query, str) else query


def _narrowed(query: QueryType, one: MetadataFilter) -> MetaEmbedQueryBundle:
    """The query with one more filter."""
    bundle = _with_options(_bundle(query))
    theirs = [] if bundle.filters is None else [bundle.filters]
    return replace(bundle, filters=MetadataFilters(filters=[*theirs, one]))


def _with_options(bundle: QueryBundle) -> MetaEmbedQueryBundle:
    if isinstance(bundle, MetaEmbedQueryBundle):
        return bundle
    plain = {field.name: getattr(bundle, field.name) for field in fields(QueryBundle)}
    return MetaEmbedQueryBundle(**plain)
