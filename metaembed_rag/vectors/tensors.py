"""MaxSim of int8 vectors that lie in torch tensors, on a GPU or not: the bits of ``maxsim_levels``.

Pages stay in int8 on the device and are read once, in blocks: their products with the queries are
whole numbers (int32), of which one block exists at a time. :class:`TensorPages` holds an index's
pages there. Measured on no GPU yet: ``benchmarks/search/gpu.py`` is to be run where there is one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import StoreError, require
from metaembed_rag.vectors.integers import Vectors

_BLOCK_PRODUCTS = 4_000_000
"""Products that exist at one time: 16 MB in int32, a third of a large GPU's level-2 cache."""

_LEAST_ROWS = 32
"""CUDA's int8 product takes more than 16 rows, and multiples of 8 on the other sides."""

VARIABLE = "METAEMBED_SCORING_DEVICE"
"""The environment variable that names the device on which indexes score all pages."""

_SPARE_BYTES = 1_000_000_000
"""Left free on a GPU: products, and what the model takes for a query."""

_COPIED_AT_ONCE = 4096
"""Pages that are unpacked to int8 and copied to the device at a time: 64 MB of 64 x 256."""

CPU = "cpu"
"""The device of the kernels for mapped vectors."""

_log = logging.getLogger(__name__)


def scoring_device(name: str) -> str:
    """The name of a device that can score pages, in one spelling; ``""`` for none.

    Args:
        name: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``, in any case.

    Raises:
        StoreError: It is of another kind.
    """
    device = name.strip().lower()
    if device in ("", CPU, "cpu:0"):
        return device and CPU
    if re.fullmatch(r"cuda(:[0-9]+)?", device) is None:
        raise StoreError(
            f"pages cannot be scored on the device {name!r}: the scoring_device, or {VARIABLE}, "
            f'is "cpu", "cuda", or a GPU by its number as "cuda:1"'
        )
    return device


class TensorPages:
    """Pages in int8 on one device, for searches that score all of them.

    Args:
        levels: Their vectors in order: int8, int4 or bits; each of shape (pages, r, ...).
        device: What torch calls it, as ``"cuda"``.

    Raises:
        ValueError: They are fp16, which int8 cannot hold.
    """

    def __init__(self, levels: Sequence[Vectors], device: str) -> None:
        import torch

        shape = (len(levels[0]), _vectors(levels), levels[0].dimension)
        self.device = device
        self._values = torch.empty(shape, dtype=torch.int8, device=device)
        self._scales = torch.empty(shape[:2], dtype=torch.float16, device=device)
        end = 0
        for level in levels:
            level.verify()
            begin, end = end, end + level.values.shape[1]
            for start in range(0, shape[0], _COPIED_AT_ONCE):
                rows = slice(start, start + _COPIED_AT_ONCE)
                values, scales = _whole(level, rows)
                self._values[rows, begin:end] = torch.from_numpy(values).to(device)
                self._scales[rows, begin:end] = torch.from_numpy(scales).to(device)

    @staticmethod
    def fit(levels: Sequence[Vectors], device: str) -> bool:
        """Whether a GPU has the memory; other devices are taken to."""
        import torch

        if torch.device(device).type != "cuda":
            return True
        free, _ = torch.cuda.mem_get_info(device)
        vectors = len(levels[0]) * _vectors(levels)
        return vectors * (levels[0].dimension + 2) + _SPARE_BYTES < free

    @classmethod
    def copied(cls, levels: Sequence[Vectors], device: str) -> TensorPages | None:
        """The pages on a device; None, with a warning, where its memory is too small.

        Raises:
            StoreError: There is no such device here, or it cannot be used.
            MissingExtraError: torch is not installed.
        """
        require("torch")
        import torch

        try:
            if cls.fit(levels, device):
                return cls(levels, device)
        except torch.OutOfMemoryError:
            pass  # something else took the memory meanwhile
        except (RuntimeError, AssertionError) as error:  # which one depends on torch's build
            raise StoreError(
                f"pages cannot be scored on the device {device!r} ({error}); choose another "
                f"scoring_device, or leave {VARIABLE} out"
            ) from error
        _log.warning(
            "%d pages do not fit into the memory of %s: scoring them here", len(levels[0]), device
        )
        return None

    def scores(
        self,
        queries: NDArray[np.float32],
        budget: RetrievalBudget,
        rows: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """Raw sums of all pages, or of ``rows``, float32, shape (queries, pages or rows).

        Args:
            queries: float32, shape (queries, r_q, D).
            budget: The vectors that take part.
            rows: Hand out these only; all are scored.
        """
        import torch

        given = torch.from_numpy(np.ascontiguousarray(queries)).to(self.device)
        found = maxsim_int8_tensors(given, self._values, self._scales, budget)
        if rows is not None:
            found = found[:, torch.from_numpy(rows).to(self.device)]
        scores: NDArray[np.float32] = found.cpu().numpy()
        return scores


def _vectors(levels: Sequence[Vectors]) -> int:
    return sum(level.values.shape[1] for level in levels)


def _whole(level: Vectors, rows: slice) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Some pages' vectors as int8 with their scales: copies, as mapped files cannot be written."""
    if not level.format.scaled:
        raise ValueError(f"{level.format.name} vectors are no whole numbers")
    values = level.format.whole(level.values[rows], level.dimension)
    return np.array(values), level.scales[rows].astype(np.float16)


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
        :func:`metaembed_rag.vectors.integers.maxsim_levels` gives. Beside it the best similarities,
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
    # By a number of the host CUDA multiplies by its reciprocal, which rounds otherwise.
    weights = queries.abs().amax(-1) / queries.new_full((), 127)
    steps = weights.where(weights > 0, 1)
    return (queries / steps[..., None]).round().char(), weights


def _best(flat: Any, values: Any, scales: Any) -> Any:
    """The best similarity of each query vector with each page: (pages, query vectors)."""
    import torch

    rows, dimension = flat.shape
    ready = _padded(flat, -rows % 8, -dimension % 8).T
    best = torch.empty((len(values), rows), dtype=torch.float32, device=values.device)
    step = max(1, _BLOCK_PRODUCTS // (values.shape[1] * ready.shape[1]))
    for start in range(0, len(values), step):
        part = slice(start, start + step)
        pages = values[part].flatten(0, 1)
        padded = _padded(pages, max(0, _LEAST_ROWS - len(pages)), -dimension % 8)
        products = torch._int_mm(padded, ready)[: len(pages), :rows].float()
        similar = products.view(-1, values.shape[1], rows).mul_(scales[part].float()[..., None])
        torch.amax(similar, 1, out=best[part])
    return best


def _padded(matrix: Any, rows: int, columns: int) -> Any:
    """With so many rows and columns of zeros more."""
    import torch

    return torch.nn.functional.pad(matrix, (0, columns, 0, rows)) if rows or columns else matrix
