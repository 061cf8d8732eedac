"""nDCG@5 at the paper's budgets from vectors of queries and pages, as an index would store them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.evaluation import Dataset, exhaustive_scores, measure, top_pages
from metaembed_rag.vectors.formats import quantize


def budget_curve(
    queries: Tensor, documents: Tensor, data: Dataset, size: int | None = None
) -> dict[str, float]:
    """nDCG@5 at each of the paper's budgets: ``{"1,1": 0.51, ...}``.

    Args:
        queries: Unit vectors ``(queries, 16, D)`` in the set's order.
        documents: Unit vectors ``(pages, 64, D)`` in the set's order; scored as int8.
        data: Who answers whom.
        size: Only the first so many dimensions, of length 1 again; None takes all.
    """
    asked, held = (F.normalize(one[..., :size], dim=-1).numpy() for one in (queries, documents))
    pages, ids = quantize(held), [page.id for page in data.pages]
    curve = {}
    for budget in RetrievalBudget.paper():
        ranked = top_pages(exhaustive_scores(asked, pages, budget), ids)
        rankings = {query.id: top for query, top in zip(data.queries, ranked, strict=True)}
        curve[str(budget)] = float(measure(data.qrels, rankings)["ndcg@5"].mean())
    return curve
