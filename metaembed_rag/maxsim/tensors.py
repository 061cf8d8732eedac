"""MaxSim of int8 vectors that lie in torch tensors, on a GPU or not: the bits of ``maxsim_levels``.

Pages stay in int8 on the device and are read once, in blocks: their products with the queries are
whole numbers (int32), of which one block exists at a time. Measured on no GPU yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metaembed_rag.budget import RetrievalBudget

_BLOCK_PRODUCTS = 4_000_000
"""Products that exist at one time: 16 MB in int32, a third of a large GPU's level-2 cache."""

_LEAST_ROWS = 32
"""CUDA's int8 product takes more than 16 rows, and multiples of 8 on the other sides."""


def maxsim_int8_tensors(
    queries: Any, values: Any, scales: Any, budget: RetrievalBudget | None = None
) -> Any:
    """Score int8 pages for one or more queries, all on one device.

    Args:
        queries: float32 tensor, shape (r_q, D) or (queries, r_q, D); rounded to int8 here.
        values: int8 tensor, shape (pages, R_c, D), in [-127, 127].
        scales: float16 tensor, shape (pages, R_c).
        budget: The vectors that take part; all of both sides without one.

    Returns:
        Raw sums, float32 tensor of shape (queries, pages), the same bits as
        :func:`metaembed_rag.maxsim.integers.maxsim_levels` gives. Beside it the best similarities,
        4 bytes for each page and query vector, and at most 48 MB (or one page) are held.
    """
    queries = queries[None] if queries.ndim == 2 else queries
    if budget is not None:
        queries = queries[:, : budget.r_q]
        values, scales = values[:, : budget.r_c], scales[:, : budget.r_c]
    rounded, weights = _rounded(queries)
    best = _best(rounded.flatten(0, 1), values, scales).unflatten(1, rounded.shape[:2])
    total = best.new_zeros(best.shape[:2])  # (pages, queries)
    for i in range(best.shape[2]):  # in index order, which is part of the definition
        total += best[:, :, i] * weights[:, i]
    return total.T


def _rounded(queries: Any) -> tuple[Any, Any]:
    """Queries in int8 and a float32 scale a vector, as ``quantize_queries`` makes them."""
    weights = queries.abs().amax(-1) / 127
    steps = weights.where(weights > 0, 1)
    return (queries / steps[..., None]).round().char(), weights


def _best(flat: Any, values: Any, scales: Any) -> Any:
    """The best similarity of each query vector with each page: (pages, query vectors)."""
    import torch

    rows, dimension = flat.shape
    ready = _padded(flat, -rows % 8, -dimension % 8).T
    best = torch.empty((len(values), rows), dtype=torch.float32, device=values.device)
    for part in _blocks(values, ready.shape[1]):
        pages = values[part].flatten(0, 1)
        padded = _padded(pages, max(0, _LEAST_ROWS - len(pages)), -dimension % 8)
        products = torch._int_mm(padded, ready)[: len(pages), :rows].float()
        similar = products.view(-1, values.shape[1], rows).mul_(scales[part].float()[..., None])
        torch.amax(similar, 1, out=best[part])
    return best


def _blocks(values: Any, rows: int) -> Iterator[slice]:
    step = max(1, _BLOCK_PRODUCTS // (values.shape[1] * rows))
    return (slice(start, start + step) for start in range(0, len(values), step))


def _padded(matrix: Any, rows: int, columns: int) -> Any:
    """With so many rows and columns of zeros more."""
    import torch

    return torch.nn.functional.pad(matrix, (0, columns, 0, rows)) if rows or columns else matrix
