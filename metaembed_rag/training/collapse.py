"""Are the vectors of one input different? Three numbers that fall when learned tokens collapse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.special import entr


@dataclass(frozen=True)
class Collapse:
    """How alike the vectors of one input are.

    Args:
        centred_cosine: Mean cosine of two vectors of one input after each slot's mean over the
            inputs is taken off: near 1 when every slot says the same about the input. The raw
            cosine misses this.
        effective_rank: exp of the entropy of the squared singular values, 1 to the number of
            vectors.
        evenness: Entropy of which page vector wins the max, divided by its largest value: 1 when
            all win equally often.
    """

    centred_cosine: float
    effective_rank: float
    evenness: float


@torch.no_grad()
def measure_collapse(queries: Tensor, documents: Tensor) -> Collapse:
    """Measure on unit vectors: ``queries`` (n, R_q, D), matching ``documents`` (n, R_c, D)."""
    centred = F.normalize(documents - documents.mean(0), dim=-1)
    vectors = documents.shape[1]
    cosines = centred @ centred.transpose(1, 2)  # (n, R_c, R_c)
    apart = ~torch.eye(vectors, dtype=torch.bool)
    power = torch.linalg.svdvals(documents) ** 2
    rank = entr(power / power.sum(1, keepdim=True)).sum(1).exp().mean()
    wins = torch.bincount(
        (queries @ documents.transpose(1, 2)).argmax(-1).flatten(), minlength=vectors
    ).float()
    evenness = entr(wins / wins.sum()).sum().item() / math.log(vectors)
    return Collapse(cosines[:, apart].mean().item(), rank.item(), evenness)


def collapse_at(
    queries: Tensor, documents: Tensor, budgets: Sequence[tuple[int, int]]
) -> dict[str, Collapse]:
    """:func:`measure_collapse` of the prefixes at several budgets: ``{"4,8": ...}``.

    Args:
        queries: Unit vectors ``(n, R_q, D)`` on any device.
        documents: The matching unit vectors ``(n, R_c, D)``, ``n >= 2``.
        budgets: (r_q, r_c); those with one page vector are left out, as nothing can be alike.
    """
    asked, pages = queries.float().cpu(), documents.float().cpu()
    return {
        f"{r_q},{r_c}": measure_collapse(asked[:, :r_q], pages[:, :r_c])
        for r_q, r_c in budgets
        if r_c > 1
    }


def evenness_penalty(queries: Tensor, documents: Tensor, *, temperature: float = 0.05) -> Tensor:
    """1 minus the normalised entropy of which document vector wins, softly; a scalar in [0, 1].

    Args:
        queries: Unit vectors ``(n, R_q, D)``.
        documents: The matching unit vectors ``(n, R_c, D)``.
        temperature: Of the softmax over a document's vectors that stands for the max.
    """
    share = ((queries @ documents.transpose(1, 2)) / temperature).softmax(-1).mean((0, 1))
    evenness: Tensor = entr(share).sum() / math.log(documents.shape[1])
    return 1 - evenness
