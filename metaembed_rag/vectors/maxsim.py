"""MaxSim, the late-interaction score, at a retrieval budget.

    s(q, c) = Σ_{i ≤ r_q} max_{j ≤ r_c} ⟨q_i, c_j⟩

(Khattab and Zaharia, ColBERT, SIGIR 2020; MetaEmbed restricts both sides to a prefix.) Vectors
are rectangular arrays without padding or mask, so a page's score never depends on its neighbours.
Every function takes numpy arrays, or torch tensors on any one device, and answers in kind.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.vectors.formats import Quantized

_BLOCK_VALUES = 4_000_000
"""Similarities that exist at one time: 16 MB in fp32, about the size of a last-level cache."""


def maxsim(query: Any, pages: Any, budget: RetrievalBudget | None = None) -> Any:
    """Score pages for one query of shape (R_q, D), as :func:`maxsim_batch` does for several.

    Returns:
        Raw sums, float32, shape (pages,), each in [-r_q, r_q].
    """
    return maxsim_batch(query[None], pages, budget)[0]


def maxsim_batch(queries: Any, pages: Any, budget: RetrievalBudget | None = None) -> Any:
    """Score pages for several queries.

    Args:
        queries: float32 unit vectors, shape (queries, R_q, D).
        pages: float32 unit vectors, shape (pages, R_c, D), on the same device.
        budget: The vectors that take part; all of both sides without one.

    Returns:
        Raw sums, float32, shape (queries, pages). Beside inputs and result at most 16 MB (or one
        page against all query vectors) are held at a time.
    """
    if budget is not None:
        queries, pages = queries[:, : budget.r_q], pages[:, : budget.r_c]
    n_queries, r_q, dimension = queries.shape
    flat = queries.reshape(n_queries * r_q, dimension)
    block = max(1, _BLOCK_VALUES // max(1, len(flat) * pages.shape[1]))
    parts = [
        _block_scores(flat, pages[start : start + block], n_queries)
        for start in range(0, len(pages), block)
    ]
    if not parts:
        return queries[:, :0, 0]  # (queries, 0)
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis=1)
    import torch

    return torch.cat(parts, dim=1)


def maxsim_quantized(
    query: NDArray[np.float32], pages: Quantized, budget: RetrievalBudget
) -> NDArray[np.float32]:
    """Score int8 pages for one fp32 query: exactly :func:`maxsim` of the dequantised vectors.

    Args:
        query: float32 unit vectors, shape (R_q, D).
        pages: Of shape (pages, R_c, D); some are dequantised at a time.
        budget: The vectors that take part.
    """
    r_c, dimension = budget.r_c, pages.values.shape[-1]
    block = max(1, _BLOCK_VALUES // (r_c * dimension))
    scores = np.empty(len(pages), dtype=np.float32)
    for start in range(0, len(pages), block):
        part = slice(start, start + block)
        cut = Quantized(pages.values[part, :r_c], pages.scales[part, :r_c])
        scores[part] = maxsim(query[: budget.r_q], cut.dequantize())
    return scores


def _block_scores(queries: Any, pages: Any, n_queries: int) -> Any:
    """MaxSim of flat query vectors (queries · r_q, D) and some pages (pages, r_c, D)."""
    n_pages, r_c, dimension = pages.shape
    flat = pages.reshape(n_pages * r_c, dimension)
    similarities = (flat @ queries.T).reshape(n_pages, r_c, len(queries))
    # numpy spells a reduction over one axis `max`, torch `amax`.
    best = similarities.max(1) if isinstance(similarities, np.ndarray) else similarities.amax(1)
    return best.reshape(n_pages, n_queries, -1).sum(-1).T  # (queries, pages)
