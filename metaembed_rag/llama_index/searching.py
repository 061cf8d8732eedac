"""What the retriever, the vector store and the reranker share: a query, its options, a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from typing import Any, get_type_hints

from llama_index.core.schema import QueryBundle
from llama_index.core.vector_stores import MetadataFilters

from metaembed_rag.adapters import SearchedIndex, most_vectors
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import StoreError
from metaembed_rag.hits import Hits
from metaembed_rag.llama_index.tracing import tell
from metaembed_rag.model.inputs import Input
from metaembed_rag.options import SCORING_KEYWORDS, SearchOptions, all_of, is_optional
from metaembed_rag.pages.pictures import picture_of

_HINTS = get_type_hints(SearchOptions)
_ScoringFields = make_dataclass(
    "_ScoringFields",
    [(name, _HINTS[name], field(default=None)) for name in SCORING_KEYWORDS],
    kw_only=True,
)
"""Made of the options, so that their list stands once."""


@dataclass
class MetaEmbedQueryBundle(QueryBundle, _ScoringFields):  # type: ignore[misc, valid-type]  # above
    """A query with a picture, options or filters of its own; any of them may be left out.

    Beside the following it takes what :class:`metaembed_rag.options.SearchOptions` explains
    (``budget``, ``r_q``, ``r_c``, ``candidates``, ``exhaustive``, ``hybrid``, ``max_ms``,
    ``min_recall``, ``snippets``), each instead of the retriever's.

    Args:
        query_str: Text; ``""`` where the query is a picture alone.
        image_path: A picture file; text and picture together make one fused query.
        image: Or the picture itself: a PIL image, bytes or a ``BytesIO``.
        similarity_top_k: Instead of the retriever's.
        filters: Beside the retriever's filters: a page must pass both.
    """

    image: Any = field(default=None, repr=False)
    similarity_top_k: int | None = None
    filters: MetadataFilters | None = field(default=None, kw_only=True)

    @property
    def options(self) -> SearchOptions:
        """How this query is to be searched.

        Raises:
            BudgetError: No budget, or options that exclude each other.
        """
        return scoring_options(self)


def scoring_options(fields: object) -> SearchOptions:
    """The options among the attributes of an object.

    Raises:
        BudgetError: No budget, or options that exclude each other.
    """
    return SearchOptions(**{name: getattr(fields, name) for name in SCORING_KEYWORDS})


def search_pages(
    index: SearchedIndex,
    query: Input,
    k: int,
    options: SearchOptions,
    *,
    node_ids: Sequence[str] | None = None,
    doc_ids: Sequence[str] | None = None,
) -> Hits:
    """Search an index.

    Args:
        index: The pages.
        query: Text, a picture, or both.
        k: At most so many hits.
        options: How pages are scored, and which may be found.
        node_ids: Only these pages, which are all scored; an empty list gives no pages.
        doc_ids: Only pages of these documents; an empty list gives no pages.

    Raises:
        BudgetError: The budget asks for more vectors than there are, or for ``"auto"`` what the
            calibration cannot give.
        StoreError: ``node_ids`` together with ``hybrid``, other than ``"auto"``.
    """
    if any(ids is not None and not ids for ids in (node_ids, doc_ids)):
        return Hits([], query, options.fixed(RetrievalBudget.parse("fast")), 0.0)
    options = replace(options, where=all_of(options.where, doc_ids_to_where(doc_ids)))
    if node_ids is not None:
        return tell(_score_nodes(index, query, k, options, node_ids))
    return tell(index.search(query, k, **options.keywords))


def _score_nodes(
    index: SearchedIndex, query: Input, k: int, options: SearchOptions, node_ids: Sequence[str]
) -> Hits:
    if options.hybrid and not is_optional(options.hybrid):
        raise StoreError(
            "node_ids cannot be combined with hybrid; filter by metadata or doc_ids instead"
        )
    ids = list(dict.fromkeys(node_ids))
    if options.where is not None:
        allowed = set(index.ids(options.where))
        ids = [id for id in ids if id in allowed]
    hits = index.score(query, ids, budget=options.unchosen(most_vectors(index)))
    if options.snippets:  # of at most k
        best = [hit.page.id for hit in hits[:k]]
        hits = index.score(query, best, budget=hits.budget, snippets=True)
    return Hits(hits[:k], query, hits.budget, hits.seconds, plan=hits.plan)


def bundle_query(bundle: QueryBundle) -> Input:
    """What an index searches for: the text, the picture, or both in one query."""
    text = "\n".join(bundle.embedding_strs)
    image = getattr(bundle, "image", None)
    image = bundle.image_path if image is None else image
    if image is None:
        return text
    return {"text": text, "image": picture_of(image)} if text.strip() else picture_of(image)


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
