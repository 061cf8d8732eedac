"""A LlamaIndex retriever over a page index, at a retrieval budget."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores import MetadataFilters

from metaembed_rag.adapters import both_filters, open_image
from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.index import Input, PageIndex
from metaembed_rag.llama_index.filters import filters_to_where
from metaembed_rag.llama_index.nodes import page_to_node


@dataclass
class MetaEmbedQueryBundle(QueryBundle):
    """A query with a picture, a budget or filters of its own; any of them may be left out.

    Args:
        query_str: Text; ``""`` where the query is a picture alone.
        image_path: A picture file; text and picture together make one fused query.
        image: Or the picture itself: a PIL image, bytes or a ``BytesIO``.
        similarity_top_k: Instead of the retriever's.
        budget: Instead of the retriever's; ``r_q`` and ``r_c`` change one side only.
        r_q: Query vectors that take part.
        r_c: Page vectors that take part.
        filters: Beside the retriever's filters: a page must pass both.
    """

    image: Any = field(default=None, repr=False)
    similarity_top_k: int | None = None
    budget: BudgetLike | None = None
    r_q: int | None = None
    r_c: int | None = None
    filters: MetadataFilters | None = None


class MetaEmbedRetriever(BaseRetriever):
    """Pages of a :class:`metaembed_rag.PageIndex` as nodes, best first.

    Candidates by the first vector, then MaxSim at the budget; a node's score is MaxSim / r_q in
    [-1, 1]. Async retrieval runs in a thread, so it does not block the event loop. A plain
    ``QueryBundle`` works too; its ``custom_embedding_strs`` (from a query transform such as HyDE)
    make one query together, and its ``embedding`` is not used, because it is a single vector.

    Args:
        index: The pages.
        similarity_top_k: At most so many nodes.
        budget: ``(r_q, r_c)``, ``"4,8"`` or a preset's name; all vectors that are stored without
            one.
        r_q: Query vectors that take part, instead of the budget's.
        r_c: Page vectors that take part, instead of the budget's.
        candidates: Pages that are reranked; see :meth:`metaembed_rag.PageIndex.search`.
        exhaustive: Score every page instead of candidates.
        filters: Only pages with such metadata; ``source`` and ``page`` are fields too.
        **options: LlamaIndex's: ``callback_manager``, ``objects``, ``object_map``, ``verbose``.

    Raises:
        BudgetError: On retrieval, when the budget asks for more vectors than there are.
        StoreError: A filter that Chroma cannot apply.
    """

    def __init__(
        self,
        index: PageIndex,
        *,
        similarity_top_k: int = 5,
        budget: BudgetLike | None = None,
        r_q: int | None = None,
        r_c: int | None = None,
        candidates: int | None = None,
        exhaustive: bool = False,
        filters: MetadataFilters | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.index = index
        self.similarity_top_k = similarity_top_k
        self.budget = None if budget is None else RetrievalBudget.parse(budget)
        self.r_q = r_q
        self.r_c = r_c
        self.candidates = candidates
        self.exhaustive = exhaustive
        self.filters = filters
        filters_to_where(filters)  # a filter that Chroma lacks is refused here, not at the query

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        bundle = _with_options(query_bundle)
        hits = self.index.search(
            _query(bundle),
            self.similarity_top_k if bundle.similarity_top_k is None else bundle.similarity_top_k,
            budget=self._budget(bundle),
            candidates=self.candidates,
            where=both_filters(filters_to_where(self.filters), filters_to_where(bundle.filters)),
            exhaustive=self.exhaustive,
        )
        return [
            NodeWithScore(node=page_to_node(hit.page, hit.score), score=hit.score) for hit in hits
        ]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _budget(self, bundle: MetaEmbedQueryBundle) -> RetrievalBudget:
        """The query's budget over the retriever's over all that is stored; one side alone too."""
        stored = RetrievalBudget(self.index.encoder.query_vectors, self.index.vectors_per_page)
        ours = _changed(self.budget or stored, self.r_q, self.r_c)
        asked = ours if bundle.budget is None else RetrievalBudget.parse(bundle.budget)
        return _changed(asked, bundle.r_q, bundle.r_c)


def _changed(budget: RetrievalBudget, r_q: int | None, r_c: int | None) -> RetrievalBudget:
    return RetrievalBudget(budget.r_q if r_q is None else r_q, budget.r_c if r_c is None else r_c)


def _with_options(bundle: QueryBundle) -> MetaEmbedQueryBundle:
    if isinstance(bundle, MetaEmbedQueryBundle):
        return bundle
    return MetaEmbedQueryBundle(
        query_str=bundle.query_str,
        image_path=bundle.image_path,
        custom_embedding_strs=bundle.custom_embedding_strs,
    )


def _query(bundle: MetaEmbedQueryBundle) -> Input:
    text = "\n".join(bundle.embedding_strs)
    image = bundle.image_path if bundle.image is None else bundle.image
    if image is None:
        return text
    return {"text": text, "image": open_image(image)} if text.strip() else open_image(image)
