"""nDCG@5 at the five budgets from encoded queries and documents, for use during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from metaembed_rag.budget import RetrievalBudget


def ndcg(scores: np.ndarray, relevant: Sequence[Mapping[int, float]], k: int = 5) -> float:
    """Mean nDCG@k (linear gains, Järvelin and Kekäläinen 2002) of ``scores`` (queries, documents).

    Equal scores keep the order of the corpus.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    values = []
    for row, gains in zip(best, relevant, strict=True):
        got = np.array([gains.get(int(document), 0.0) for document in row])
        ideal = np.sort(np.fromiter(gains.values(), float))[::-1][:k]
        values.append(float(got @ discount[: len(got)] / (ideal @ discount[: len(ideal)])))
    return float(np.mean(values))


def max_sim(queries: Tensor, documents: Tensor, budget: RetrievalBudget) -> Tensor:
    """Scores (queries, documents) of ``(n, r, D)`` vectors at a budget, a few queries at a time."""
    some = queries[:, : budget.r_q]
    flat = documents[:, : budget.r_c].flatten(0, 1).T
    rows = []
    for chunk in some.split(32):
        similar = (chunk.flatten(0, 1) @ flat).view(
            len(chunk), budget.r_q, len(documents), budget.r_c
        )
        rows.append(similar.amax(-1).sum(1))
    return torch.cat(rows)


def budget_curve(
    queries: Tensor, documents: Tensor, relevant: Sequence[Mapping[int, float]]
) -> dict[str, float]:
    """nDCG@5 at each of the paper's budgets: ``{"1,1": 0.51, ...}``."""
    return {
        str(budget): ndcg(max_sim(queries, documents, budget).numpy(), relevant)
        for budget in RetrievalBudget.paper()
    }
