"""Asking an index what it holds no answer to, and what its best pages score then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import BudgetError
from metaembed_rag.options import HYBRID_AUTO, SearchOptions
from metaembed_rag.search.confidence import Unrelated, evidence
from metaembed_rag.search.plan import CANDIDATES, Plan, QueryPlan, plan_query
from metaembed_rag.search.searcher import NO_WORD, PageSearcher
from metaembed_rag.search.sources import Scored

LEAST_QUESTIONS = 20
"""Fewer say too little of what stays below 0.8 of them."""

_LOOKED_AT = 20
"""Pages of a hybrid search among which the one of most evidence is looked for: the fused score
orders pages by other weights."""


def ask_unrelated(
    searcher: PageSearcher,
    vectors: NDArray[np.float32],
    texts: Sequence[str],
    most: RetrievalBudget,
) -> Unrelated:
    """What the best pages of unrelated questions score, by vectors and with words.

    Args:
        searcher: Of the index.
        vectors: Of the questions, float32 of shape (questions, R_q, D).
        texts: Their words.
        most: All vectors that there are.

    Raises:
        BudgetError: There are too few questions.
    """
    if len(texts) < LEAST_QUESTIONS:
        raise BudgetError(
            f"{len(texts)} unrelated questions are too few to tell what they score; give at least "
            f"{LEAST_QUESTIONS}"
        )
    by_vectors: dict[tuple[int, int], list[float]] = {}
    with_words: dict[tuple[int, int], list[float]] = {}
    for budget in budgets_up_to(most):
        near: dict[str, Any] = {"budget": budget, "candidates": CANDIDATES}  # as hybrid searches do
        plain = SearchOptions(k=1, hybrid=False, **near)
        auto = SearchOptions(k=_LOOKED_AT, hybrid=HYBRID_AUTO, **near)
        by_vectors[budget.r_q, budget.r_c] = [
            max(one.maxsim[id] for id in one.ids) / budget.r_q
            for one in searcher.scored(vectors, texts, _plan(plain, most))
        ]
        scored = searcher.scored(vectors, texts, _plan(auto, most))
        if all(one.found is not None or one.words == NO_WORD for one in scored):
            with_words[budget.r_q, budget.r_c] = [_most(one, budget) for one in scored]
    return Unrelated.of(by_vectors, with_words)


def budgets_up_to(most: RetrievalBudget) -> list[RetrievalBudget]:
    """Those at which unrelated questions are asked: each r_q and r_c of the paper, and the most."""
    paper = RetrievalBudget.paper()
    r_qs = sorted({one.r_q for one in paper if one.r_q < most.r_q} | {most.r_q})
    r_cs = sorted({one.r_c for one in paper if one.r_c < most.r_c} | {most.r_c})
    return [RetrievalBudget(r_q, r_c) for r_q in r_qs for r_c in r_cs]


def _plan(options: SearchOptions, most: RetrievalBudget) -> QueryPlan:
    return plan_query(options, most, _never)


def _never(options: SearchOptions) -> tuple[Plan, str]:
    raise AssertionError("a budget is named, so no calibration chooses one")


def _most(scored: Scored, budget: RetrievalBudget) -> float:
    """The evidence of the page that has most of it."""
    found = scored.found or {}
    return max(evidence(scored.maxsim[id] / budget.r_q, found.get(id, 0.0)) for id in scored.ids)
