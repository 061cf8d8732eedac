"""What the retriever, the vector store and the reranker share: a query, a budget, a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.schema import QueryBundle
from llama_index.core.vector_stores import MetadataFilters

from metaembed_rag.adapters import BudgetChoice, both_filters, open_image
from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.errors import StoreError
from metaembed_rag.hits import Hits
from metaembed_rag.index import PageIndex
from metaembed_rag.model.inputs import Input
from metaembed_rag.search.fusion import HybridLike


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
        max_ms: Milliseconds that this search may take beyond encoding the query, the calibration
            choosing the budget.
        min_recall: Share of the exact top k to be found, likewise.
    """

    image: Any = field(default=None, repr=False)
    similarity_top_k: int | None = None
    budget: BudgetLike | None = None
    r_q: int | None = None
    r_c: int | None = None
    filters: MetadataFilters | None = None
    max_ms: float | None = None
    min_recall: float | None = None

    @property
    def choice(self) -> BudgetChoice:
        """What of the query is about the budget.

        Raises:
            BudgetError: It is no budget.
        """
        return BudgetChoice(self.budget, self.r_q, self.r_c, self.max_ms, self.min_recall)


@dataclass(frozen=True)
class PageSearch:
    """How pages are searched, beside the query and the budget.

    Args:
        k: At most so many hits.
        candidates: Pages that are reranked.
        exhaustive: Score every page instead of candidates.
        hybrid: Words count too; see :meth:`metaembed_rag.PageIndex.search`.
        where: A Chroma filter.
        node_ids: Only these pages, which are all scored; an empty list gives no pages.
        doc_ids: Only pages of these documents; an empty list gives no pages.
    """

    k: int
    candidates: int | None = None
    exhaustive: bool = False
    hybrid: HybridLike = False
    where: Mapping[str, Any] | None = None
    node_ids: Sequence[str] | None = None
    doc_ids: Sequence[str] | None = None

    def run(self, index: PageIndex, query: Input, chosen: BudgetChoice) -> Hits:
        """Search.

        Raises:
            BudgetError: The budget asks for more vectors than there are, or for ``"auto"`` what
                the calibration cannot give.
            StoreError: ``node_ids`` together with ``hybrid``.
        """
        if (self.node_ids is not None and not self.node_ids) or (
            self.doc_ids is not None and not self.doc_ids
        ):
            return Hits([], query, chosen.fixed(RetrievalBudget.parse("fast")), 0.0)
        budget = chosen.keywords(index)
        where = both_filters(self.where, doc_ids_to_where(self.doc_ids))
        if self.node_ids is not None:
            return self._of_nodes(index, query, budget["budget"], where)
        return index.search(
            query,
            self.k,
            **budget,
            candidates=self.candidates,
            where=where,
            exhaustive=self.exhaustive,
            hybrid=self.hybrid,
        )

    def _of_nodes(
        self,
        index: PageIndex,
        query: Input,
        budget: BudgetLike | None,
        where: Mapping[str, Any] | None,
    ) -> Hits:
        if self.hybrid:
            raise StoreError(
                "node_ids cannot be combined with hybrid; filter by metadata or doc_ids instead"
            )
        ids = list(dict.fromkeys(self.node_ids or ()))
        if where is not None:
            allowed = set(index.ids(where))
            ids = [id for id in ids if id in allowed]
        hits = index.score(query, ids, budget=budget)
        return Hits(hits[: self.k], query, hits.budget, hits.seconds, plan=hits.plan)


def bundle_query(bundle: QueryBundle) -> Input:
    """What an index searches for: the text, the picture, or both in one query."""
    text = "\n".join(bundle.embedding_strs)
    image = getattr(bundle, "image", None)
    image = bundle.image_path if image is None else image
    if image is None:
        return text
    return {"text": text, "image": open_image(image)} if text.strip() else open_image(image)


IS_NODE = "llama_index:is_node"
"""Metadata of pages that came as nodes."""
REF_DOC_ID = "llama_index:ref_doc_id"
"""Metadata: the document that a node came from, or the node itself."""


def doc_ids_to_where(doc_ids: Sequence[str] | None) -> dict[str, Any] | None:
    """Pages of these documents: by the source of a page, by the ref_doc_id of what came as a node.

    The two are kept apart, so that a document with the id "x" is not taken for a file "x".
    """
    if doc_ids is None:
        return None
    page = {"$and": [{"source": {"$in": list(doc_ids)}}, {IS_NODE: {"$ne": True}}]}
    return {"$or": [{REF_DOC_ID: {"$in": list(doc_ids)}}, page]}
