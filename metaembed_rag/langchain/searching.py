"""What the retriever, the vector store and the reranker share: a query, its options, a search.

LangChain calls a filter ``filter``, in Chroma's language over a document's metadata, and one on its
text ``where_document``; everything else is named as in
:class:`metaembed_rag.options.SearchOptions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from langchain_core.documents import Document
from numpy.typing import NDArray

from metaembed_rag.adapters import SearchedIndex, search_fields
from metaembed_rag.hits import Hit, Hits
from metaembed_rag.index import PageIndex
from metaembed_rag.langchain.documents import page_to_document
from metaembed_rag.langchain.filters import index_filter
from metaembed_rag.langchain.tracing import note_search
from metaembed_rag.metadata.filters import all_of, of_text
from metaembed_rag.model.inputs import Input
from metaembed_rag.options import SCORING_KEYWORDS, SearchOptions, check_keywords
from metaembed_rag.pages.pictures import picture_of
from metaembed_rag.vectors.maxsim import maxsim_batch

_FILTERS = ("filter", "where_document")
KEYWORDS = (*_FILTERS, *SCORING_KEYWORDS)
"""The keywords of a search beside the query and k."""


COMPARED = SearchOptions(hybrid=False)
"""What stands below the options where scores are compared with more than each other: a fused score
says how good a page is among those of its query only."""


def options_of(keywords: Mapping[str, Any]) -> SearchOptions:
    """The options among a call's keywords, which must all be options.

    Raises:
        TypeError: Another keyword; it would otherwise have no effect without a word.
    """
    check_keywords(keywords, KEYWORDS)
    scoring = {name: value for name, value in keywords.items() if name not in _FILTERS}
    where = keywords.get("filter")
    if keywords.get("where_document") is not None:
        where = all_of(where, of_text(keywords["where_document"]))
    return SearchOptions(where=where, **scoring)


def keywords_of(options: SearchOptions) -> dict[str, Any]:
    """The inverse of :func:`options_of`, with all that restricts the pages as ``filter``."""
    scoring = {name: getattr(options, name) for name in SCORING_KEYWORDS}
    return {**scoring, "filter": options.where, "where_document": None}


def search(index: SearchedIndex, query: Input, k: int, options: SearchOptions) -> Hits:
    """Search an index for a query.

    Raises:
        BudgetError: The budget asks for more vectors than there are, or for ``"auto"`` what the
            calibration cannot give.
    """
    hits = index.search(open_query(query), k, **_for_index(options).keywords)
    note_search(hits)
    return hits


def search_vectors(
    index: PageIndex, vectors: NDArray[np.float32], k: int, options: SearchOptions
) -> Hits:
    """Search by a query's vectors, of shape (r_q, D).

    As many take part as were given, if no budget was chosen.

    Raises:
        BudgetError: As for :func:`search`.
    """
    chosen = (options.budget, options.r_q, options.max_ms, options.min_recall)
    if all(one is None for one in chosen):
        options = replace(options, r_q=len(vectors))
    hits = index.search_vectors(vectors, k, **_for_index(options).keywords)
    note_search(hits)
    return hits


def _for_index(options: SearchOptions) -> SearchOptions:
    """The options with a filter on documents as one on pages."""
    return replace(options, where=index_filter(options.where))


def hit_document(hits: Hits, hit: Hit, score: float | None = None) -> Document:
    """A hit as a document, with what :func:`metaembed_rag.adapters.search_fields` adds."""
    document = page_to_document(hit.page, score)
    document.metadata |= search_fields(hits, hit)
    return document


def relevance(score: float, hits: Hits) -> float:
    """A score in [0, 1]: MaxSim / r_q from [-1, 1], or the fused score as it is."""
    return score if hits.scoring == "hybrid" else (score + 1) / 2


def diverse_documents(index: PageIndex, hits: Hits, k: int, lambda_mult: float) -> list[Document]:
    """Greedy choice of ``k`` hits by relevance less the likeness to what is chosen already."""
    if not hits:
        return []
    budget = hits.budget
    vectors = index.vectors([hit.page.id for hit in hits])  # (hits, R, D)
    r_q = min(budget.r_q, vectors.shape[1])
    sums = maxsim_batch(vectors[:, :r_q], vectors[:, : budget.r_c])
    likeness = (sums / r_q + 1) / 2  # (hits, hits)
    relevant = np.array([relevance(hit.score, hits) for hit in hits])
    chosen: list[int] = []
    while len(chosen) < min(k, len(hits)):
        repeated = likeness[:, chosen].max(axis=1) if chosen else np.zeros(len(hits))
        value = lambda_mult * relevant - (1 - lambda_mult) * repeated
        value[chosen] = -np.inf
        chosen.append(int(value.argmax()))
    return [hit_document(hits, hits[i]) for i in chosen]


def open_query(query: Input) -> Input:
    """The query with an image given as a path or bytes opened."""
    if isinstance(query, dict) and query.get("image") is not None:
        return {**query, "image": picture_of(query["image"])}
    return query
