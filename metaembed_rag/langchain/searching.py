"""What the retriever, the vector store and the reranker share: a query, a budget, a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from langchain_core.documents import Document
from numpy.typing import NDArray

from metaembed_rag.adapters import BudgetChoice, both_filters, open_image, plan_fields
from metaembed_rag.budget import BudgetLike, RetrievalBudget
from metaembed_rag.hits import Hit, Hits
from metaembed_rag.index import PageIndex
from metaembed_rag.langchain.documents import page_to_document
from metaembed_rag.langchain.filters import index_filter
from metaembed_rag.model.inputs import Input
from metaembed_rag.search.fusion import HybridLike


@dataclass(frozen=True)
class SearchOptions:
    """How to search; None leaves a choice to those below.

    Attributes:
        budget: Both sides of the budget: ``"fast"``, ``"4,8"``, ``(4, 8)``; ``"auto"`` for what
            :meth:`metaembed_rag.PageIndex.calibrate` found.
        r_q: Query vectors that take part, instead of the budget's.
        r_c: Page vectors that take part, instead of the budget's.
        filter: Only documents whose metadata match, in Chroma's filter language.
        candidates: Pages that are reranked; see :meth:`metaembed_rag.PageIndex.search`.
        exhaustive: Score every page instead of candidates.
        hybrid: Words count too; see :meth:`metaembed_rag.PageIndex.search`.
        max_ms: Milliseconds that a search may take, the calibration choosing the budget.
        min_recall: Share of the exact top k to be found, likewise.
    """

    budget: BudgetLike | None = None
    r_q: int | None = None
    r_c: int | None = None
    filter: Mapping[str, Any] | None = None
    candidates: int | None = None
    exhaustive: bool | None = None
    hybrid: HybridLike = None
    max_ms: float | None = None
    min_recall: float | None = None

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> SearchOptions:
        """The options among a call's keywords, which must all be options.

        Raises:
            TypeError: Another keyword; it would otherwise have no effect without a word.
        """
        check_keywords(keywords, SEARCH_KEYWORDS)
        return cls(**keywords)

    def over(self, below: SearchOptions) -> SearchOptions:
        """These choices, and ``below`` where none was made; a page must pass both filters.

        Raises:
            BudgetError: As :meth:`metaembed_rag.adapters.BudgetChoice.over`.
        """
        chosen = {name: getattr(self, name) for name in SEARCH_KEYWORDS}
        made = {name: value for name, value in chosen.items() if value is not None}
        made |= vars(self.choice.over(below.choice))
        return replace(below, **made | {"filter": both_filters(below.filter, self.filter)})

    @property
    def choice(self) -> BudgetChoice:
        """What of these options is about the budget.

        Raises:
            BudgetError: It is no budget.
        """
        return BudgetChoice(self.budget, self.r_q, self.r_c, self.max_ms, self.min_recall)

    def fixed_budget(self, index: PageIndex) -> RetrievalBudget:
        """The budget of these options, over ``METAEMBED_BUDGET``, over all that is stored.

        Raises:
            BudgetError: It is no budget, or ``"auto"``.
        """
        if self.budget is not None:
            RetrievalBudget.parse(self.budget)  # refuses "auto", which chooses for searches only
        stored = RetrievalBudget(index.encoder.query_vectors, index.vectors_per_page)
        return self.choice.fixed(RetrievalBudget.default() or stored)

    def search(self, index: PageIndex, query: Input, k: int) -> Hits:
        """Search an index for a query.

        Raises:
            BudgetError: The budget asks for more vectors than there are, or for ``"auto"`` what
                the calibration cannot give.
        """
        budget = self.choice.keywords(index)
        return index.search(open_query(query), k, **budget, **self._others())

    def search_vectors(self, index: PageIndex, vectors: NDArray[np.float32], k: int) -> Hits:
        """Search by a query's vectors, of shape (r_q, D).

        As many take part as were given, if no budget was chosen.

        Raises:
            BudgetError: As for :meth:`search`.
        """
        chosen = self.choice
        if chosen == BudgetChoice(r_c=self.r_c):
            chosen = replace(chosen, r_q=len(vectors))
        return index.search_vectors(vectors, k, **chosen.keywords(index), **self._others())

    def _others(self) -> dict[str, Any]:
        return {
            "where": index_filter(self.filter),
            "candidates": self.candidates,
            "exhaustive": bool(self.exhaustive),
            "hybrid": self.hybrid,
        }


SEARCH_KEYWORDS = tuple(field.name for field in fields(SearchOptions))
"""The keywords of a search beside the query and k."""


def hit_document(hits: Hits, hit: Hit, score: float | None = None) -> Document:
    """A hit as a document, with the plan of its search where the calibration chose one."""
    document = page_to_document(hit.page, score)
    document.metadata |= plan_fields(hits)
    return document


def check_keywords(given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse keywords that nothing would read.

    Raises:
        TypeError: It names them and those that there are.
    """
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise TypeError(f"no keyword {', '.join(unknown)}; there are {', '.join(known) or 'none'}")


def open_query(query: Input) -> Input:
    """The query with an image given as a path or bytes opened."""
    if isinstance(query, dict) and query.get("image") is not None:
        return {**query, "image": open_image(query["image"])}
    return query
