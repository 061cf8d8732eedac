"""Matryoshka Multi-Vector Retrieval: InfoNCE at every budget of a nested family, summed.

MetaEmbed (arXiv 2509.18095): the score of a query and a page at a budget is MaxSim over the first
``r_q`` query vectors and the first ``r_c`` page vectors; each budget has its own InfoNCE loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from metaembed_rag.budget import RetrievalBudget


@dataclass(frozen=True)
class MMRSettings:
    """Groups of the loss.

    Args:
        groups: The budgets (r_q, r_c).
        weights: Weight of each group; they are divided by their sum.
        temperatures: Of each group's softmax.
        score: ``"sum"`` over the query's vectors as in the paper, or their ``"mean"``: with sums
            and one temperature the (16, 64) group owns the gradient.
        teacher_weights: Of each group's divergence from a teacher, against its cross-entropy: one
            vector cannot follow token-level late interaction, and breaks when it must.
    """

    groups: tuple[tuple[int, int], ...] = RetrievalBudget.PAPER
    weights: tuple[float, ...] = (1.0,) * 5
    temperatures: tuple[float, ...] = (0.05,) * 5
    score: str = "mean"
    teacher_weights: tuple[float, ...] = (0.0, 0.5, 1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        counts = {len(self.groups), len(self.weights), len(self.temperatures)}
        if len(counts | {len(self.teacher_weights)}) != 1:
            raise ValueError("groups, weights and temperatures must be equally many")
        if self.score not in ("sum", "mean"):
            raise ValueError(f"score must be 'sum' or 'mean', not {self.score!r}")


@dataclass(frozen=True)
class MMRLoss:
    """The total and each group's cross-entropy, scalars; ``total`` carries the gradient."""

    total: Tensor
    groups: list[Tensor]


@dataclass(frozen=True)
class HardNegatives:
    """Pages that look like the answer of one query, and are held against that query only.

    Args:
        vectors: Unit vectors ``(k, R_c, D)``.
        owners: int64 ``(k,)``, the query that each belongs to, in ascending order.
    """

    vectors: Tensor
    owners: Tensor


def mmr_loss(
    queries: Tensor,
    documents: Tensor,
    settings: MMRSettings,
    *,
    teacher: Tensor | None = None,
    teacher_weight: float = 1.0,
    negatives: HardNegatives | None = None,
    first: int = 0,
) -> MMRLoss:
    """MMR loss with in-batch negatives: query ``i`` is answered by document ``first + i``.

    Args:
        queries: Unit vectors ``(n, R_q, D)``.
        documents: Unit vectors ``(m, R_c, D)``, ``m >= n``; all others are query ``i``'s negatives.
        teacher: Optional log-probabilities ``(n, m)``: each group is also drawn to them (KL
            divergence), weighted by ``teacher_weight`` and the group's own share.
        negatives: Their scores join the softmax of their own query.
        first: Where the queries' own documents begin among those of several devices.
    """
    right = torch.arange(first, first + len(queries), device=queries.device)
    total, losses = queries.new_zeros(()), []
    terms = _terms(queries, documents, settings)
    for group, share, (weight, scale, logits) in zip(
        settings.groups, settings.teacher_weights, terms, strict=True
    ):
        if negatives is None or not len(negatives.owners):
            loss = F.cross_entropy(logits, right)
        else:
            own = _own_scores(queries, negatives, group) / scale  # (n, most)
            loss = F.cross_entropy(torch.cat([logits, own], dim=1), right)
        losses.append(loss.detach())
        total = total + weight * loss
        if teacher is not None and share > 0:
            drawn = F.kl_div(logits.log_softmax(1), teacher, log_target=True, reduction="batchmean")
            total = total + teacher_weight * share * weight * drawn
    return MMRLoss(total, losses)


def page_to_query_loss(
    queries: Tensor, documents: Tensor, settings: MMRSettings, *, first: int = 0
) -> Tensor:
    """The other direction: document ``j`` must find query ``first + j`` among all queries.

    Args:
        queries: Unit vectors ``(m, R_q, D)``.
        documents: Unit vectors ``(n, R_c, D)``, ``n <= m``.
        first: Where the documents' own queries begin.

    Returns:
        A scalar: InfoNCE of each group by the same MaxSim, weighted as in :func:`mmr_loss`.
    """
    right = torch.arange(first, first + len(documents), device=documents.device)
    total = queries.new_zeros(())
    for weight, _, logits in _terms(queries, documents, settings):
        total = total + weight * F.cross_entropy(logits.T, right)
    return total


def _terms(
    queries: Tensor, documents: Tensor, settings: MMRSettings
) -> Iterator[tuple[float, float, Tensor]]:
    """Of each group the weight, what MaxSim sums are divided by, and the logits ``(n, m)``."""
    scores = group_scores(queries, documents, settings.groups)
    for (r_q, _), weight, temperature, score in zip(
        settings.groups, settings.weights, settings.temperatures, scores, strict=True
    ):
        scale = (r_q if settings.score == "mean" else 1) * temperature
        yield weight / sum(settings.weights), scale, score / scale


def _own_scores(queries: Tensor, negatives: HardNegatives, group: tuple[int, int]) -> Tensor:
    """MaxSim sums of each query and its own negatives, ``(n, most)``; -inf where it has fewer."""
    r_q, r_c = group
    asked = queries[negatives.owners, :r_q]  # (k, r_q, D)
    scores = (asked @ negatives.vectors[:, :r_c].transpose(1, 2)).amax(-1).sum(1)  # (k,)
    counts = torch.bincount(negatives.owners, minlength=len(queries))
    begins = counts.cumsum(0) - counts
    place = torch.arange(len(scores), device=scores.device) - begins[negatives.owners]
    table = scores.new_full((len(queries), int(counts.max())), -torch.inf)
    return table.index_put((negatives.owners, place), scores)


def group_scores(
    queries: Tensor, documents: Tensor, groups: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """MaxSim sums ``(n, m)`` of every group, float32, from one product of all vectors."""
    scores = _GroupScores.apply(queries, documents, tuple(groups))  # type: ignore[no-untyped-call]
    return list(scores)


class _GroupScores(torch.autograd.Function):
    """All groups' MaxSim; the gradient flows to the winners only, collected in one buffer.

    Autograd's own version makes a buffer of ``n * R_q * m * R_c`` values for each group.
    """

    @staticmethod
    def forward(ctx, queries, documents, groups):  # type: ignore[no-untyped-def]
        n, r_q, dimension = queries.shape
        m, r_c, _ = documents.shape
        # bf16 products under autocast only, so that tests in float32 or float64 are exact.
        fast = torch.is_autocast_enabled(queries.device.type)
        dtype = torch.bfloat16 if fast else queries.dtype
        with torch.autocast(queries.device.type, enabled=False):
            flat_queries = queries.reshape(n * r_q, dimension).to(dtype)
            flat_documents = documents.reshape(m * r_c, dimension).to(dtype)
            similar = (flat_queries @ flat_documents.T).view(n, r_q, m, r_c)
        scores, winners = [], []
        for rows, columns in groups:
            best, index = similar[:, :rows, :, :columns].max(-1)  # (n, rows, m)
            scores.append(best.float().sum(1))
            winners.append(index)
        ctx.save_for_backward(flat_queries, flat_documents, *winners)
        ctx.shape = (n, r_q, m, r_c, dimension)
        return tuple(scores)

    @staticmethod
    def backward(ctx, *gradients):  # type: ignore[no-untyped-def]
        flat_queries, flat_documents, *winners = ctx.saved_tensors
        n, r_q, m, r_c, dimension = ctx.shape
        buffer = flat_queries.new_zeros(n, r_q, m, r_c)
        for gradient, index in zip(gradients, winners, strict=True):
            rows = index.shape[1]
            spread = gradient.to(buffer.dtype)[:, None, :, None].expand(n, rows, m, 1)
            buffer[:, :rows].scatter_add_(-1, index[..., None], spread)
        flat = buffer.view(n * r_q, m * r_c)
        to_queries = (flat @ flat_documents).float().view(n, r_q, dimension)
        to_documents = (flat.T @ flat_queries).float().view(m, r_c, dimension)
        return to_queries, to_documents, None
