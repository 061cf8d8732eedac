"""MaxSim of whole-number vectors: int8, int4 and sign bits, and fp16 beside them.

The score of a page is defined down to the bit, so that the compiled kernel, the portable path and
the slow definition in the tests agree exactly:

    q_i = a_i * s_i          int8 values and a float32 scale, s_i = max |q_i| / 127
    dot_ij = <a_i, c_j>      an exact whole number (int32)
    best_i = max_j float32(dot_ij) * t_j          t_j: the page vector's scale, fp16 as float32
    score  = ((0 + best_1 * s_1) + best_2 * s_2) + ...     each step rounded to float32

A page's vectors may lie in several levels (the first vector, the next 3, the next 4, ...); a budget
reads a prefix of them. fp16 levels have no whole numbers: where there is one, :func:`maxsim_levels`
scores as :func:`maxsim_unrounded` does, in float32 with the query as it is.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import is_installed
from metaembed_rag.vectors import native
from metaembed_rag.vectors.formats import Encoded, Quantized

Vectors = Quantized | Encoded
"""The vectors of a level: of shape (pages, r, ...), int8 or in any format."""

_V = TypeVar("_V", bound=Vectors)

_EXACT = 1040
"""Values of a dot product of int8 that float32 adds exactly: 1040 * 127 * 127 < 2 ** 24."""

_BLOCK_VALUES = 1_000_000
"""Values that the portable path decodes at a time: 1 MB in int8, half a usual L2 cache. Blocks of a
quarter took 1.6 times as long, of the double 0.9 times; in float32 it is 1.15 and 0.93."""

_PAGES_A_CALL = 4096
"""Pages that a thread scores before it takes the next ones, so that all end at one time."""


@dataclass(frozen=True)
class QuantizedQueries:
    """Queries in int8. A prefix of a query's vectors is a prefix here.

    Attributes:
        values: int8, shape (queries, r_q, D), in [-127, 127].
        scales: float32, shape (queries, r_q).
        exact: What was quantised, float32, shape (queries, r_q, D).
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    exact: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def first(self, vectors: int) -> QuantizedQueries:
        """The first ``vectors`` vectors of each query: slices, nothing is copied."""
        cut = np.s_[:, :vectors]
        return QuantizedQueries(self.values[cut], self.scales[cut], self.exact[cut])

    def slice(self, part: slice) -> QuantizedQueries:
        """Some of the queries."""
        return QuantizedQueries(self.values[part], self.scales[part], self.exact[part])

    def one(self, number: int) -> QuantizedQueries:
        """Query ``number`` alone."""
        return self.slice(slice(number, number + 1))


def quantize_queries(queries: NDArray[np.float32]) -> QuantizedQueries:
    """Round queries to int8 with one float32 scale a vector.

    Args:
        queries: float32, shape (r_q, D) for one query or (queries, r_q, D).
    """
    exact = np.asarray(queries, dtype=np.float32)
    exact = exact[None] if exact.ndim == 2 else exact
    scales = np.abs(exact).max(axis=-1) / np.float32(127)
    steps = np.where(scales > 0, scales, np.float32(1))
    return QuantizedQueries(np.rint(exact / steps[..., None]).astype(np.int8), scales, exact)


def maxsim_levels(
    queries: QuantizedQueries | NDArray[np.float32],
    levels: Sequence[Vectors],
    budget: RetrievalBudget | None = None,
    *,
    rows: NDArray[np.integer[Any]] | None = None,
    best: NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Score pages whose vectors lie in levels, for one or more queries.

    Args:
        queries: float32 of shape (r_q, D) or (queries, r_q, D), or quantised already.
        levels: The page's vectors in order; each of shape (pages, r, ...). Formats may differ.
        budget: The vectors that take part; all of both sides without one.
        rows: Score these pages only, in this order.
        best: The best similarity of each query vector in other levels of the same pages, from
            :func:`no_similarities` or a call before: float32, shape (pages or rows, queries, r_q).
            They count as well, and are brought up to date, so that a page's vectors can be scored
            some at a time; to the same bits.
        threads: As many as torch uses, by default.

    Returns:
        Raw sums, float32, shape (queries, pages), or (queries, len(rows)). Beside it and the packed
        queries, a page's vectors (or 1 to 4 MB on the portable path) are held a thread.
    """
    ready = queries if isinstance(queries, QuantizedQueries) else quantize_queries(queries)
    if budget is not None:
        ready, levels = ready.first(budget.r_q), first_vectors(levels, budget.r_c)
    chosen = None if rows is None else np.ascontiguousarray(rows, dtype=np.int64)
    pages = len(levels[0]) if chosen is None else len(chosen)
    _check_rows(chosen, levels)
    for level in levels:
        level.verify(chosen)
    scores = np.empty((len(ready), pages), dtype=np.float32)
    if scores.size:
        found = native.kernel()
        whole = all(level.format.name in native.KINDS for level in levels)
        way = _native if found.library is not None and whole else _portable
        way(_Task(ready, levels, chosen, scores, best, threads or thread_count()), found)
    return scores


def no_similarities(pages: int, queries: int, r_q: int) -> NDArray[np.float32]:
    """The best similarities of pages of which nothing was scored yet, (pages, queries, r_q)."""
    return np.full((pages, queries, r_q), -np.inf, dtype=np.float32)


def maxsim_unrounded(
    query: QuantizedQueries,
    levels: Sequence[Vectors],
    budget: RetrievalBudget,
    rows: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Score a few pages with the query as it is, in float32: for the last ranking.

    Returns:
        Raw sums, float32, shape (queries, len(rows)): those of
        :func:`metaembed_rag.vectors.maxsim.maxsim_quantized` but for the rounding of float32 sums.
        About 4 MB are held beside them.
    """
    cut, first = first_vectors(levels, budget.r_c), query.first(budget.r_q)
    scores = np.empty((len(first), len(rows)), dtype=np.float32)
    step = max(1, _BLOCK_VALUES // (budget.r_c * query.values.shape[-1]))
    for start, end in _spans(len(rows), step):
        # Side by side: one product takes half as long as five.
        block = [side_by_side(cut, rows[start:end])]
        scores[:, start:end] = _block_scores(first, block, slice(None), True)
    return scores


def side_by_side(levels: Sequence[_V], rows: NDArray[np.int64]) -> _V:
    """Some pages' vectors of all levels, copied; of one format, shape (rows, R, ...)."""
    for level in levels:
        level.verify(rows)
    values = np.concatenate([level.values[rows] for level in levels], axis=1)
    scales = np.concatenate([level.scales[rows] for level in levels], axis=1)
    return cast(_V, levels[0].copied(values, scales))


def first_vectors(levels: Sequence[_V], vectors: int, *, after: int = 0) -> list[_V]:
    """The levels that hold the first ``vectors`` vectors of each page; the last one may be cut.

    With ``after``, those beyond the first ``after`` of them.
    """
    found: list[_V] = []
    begin = 0
    for level in levels:
        end = begin + level.values.shape[1]
        if max(begin, after) < min(end, vectors):
            if begin < after or vectors < end:
                part = np.s_[:, max(0, after - begin) : vectors - begin]
                level = replace(level, values=level.values[part], scales=level.scales[part])
            found.append(level)
        begin = end
    return found


def thread_count() -> int:
    """As many threads as torch uses where it is loaded, or else ``OMP_NUM_THREADS`` or all."""
    # Another thread may be importing torch just now: it is there then, but has no such name yet.
    asked = getattr(sys.modules.get("torch"), "get_num_threads", None)
    if asked is not None:
        return int(asked())
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def _check_rows(rows: NDArray[np.int64] | None, levels: Sequence[Vectors]) -> None:
    """The kernel reads where a row says: outside of the array, if that is what it says."""
    pages = min(len(level) for level in levels)
    if rows is not None and len(rows) and not (rows.min() >= 0 and rows.max() < pages):
        raise IndexError(f"rows are to be from 0 to {pages - 1}")


def _spans(pages: int, step: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + step, pages)) for start in range(0, pages, step))


@dataclass(frozen=True)
class _Task:
    """What :func:`maxsim_levels` is to score; ``scores`` and ``best`` are written."""

    queries: QuantizedQueries
    levels: Sequence[Vectors]
    rows: NDArray[np.int64] | None
    scores: NDArray[np.float32]
    best: NDArray[np.float32] | None
    threads: int

    def run(self, work: Callable[[tuple[int, int]], None], step: int) -> None:
        """Score ``step`` pages at a time, in threads: ctypes and torch release Python's lock."""
        spans = list(_spans(self.scores.shape[1], step))
        if self.threads == 1 or len(spans) == 1:
            for span in spans:
                work(span)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, spans))


def _native(task: _Task, found: native.Kernel) -> None:
    query, kept = native.pack_queries(task.queries.values, task.queries.scales)
    dense = [_dense(level) for level in task.levels]
    places = (native.Level * len(dense))(*map(_place, dense))

    def work(span: tuple[int, int]) -> None:
        native.score(found, query, places, task.rows, span, task.scores, task.best)

    task.run(work, min(_PAGES_A_CALL, -(-task.scores.shape[1] // task.threads)))
    del kept, dense  # until here the kernel read from them


def _dense(level: Vectors) -> Vectors:
    """The level itself where each vector's bytes lie together, as the kernel needs; or a copy."""
    together = level.values.strides[2] == level.values.itemsize or level.values.shape[2] == 1
    if together and level.scales.dtype == np.float16:
        return level
    values, scales = np.ascontiguousarray(level.values), level.scales.astype(np.float16)
    return replace(level, values=values, scales=scales)


def _place(level: Vectors) -> native.Level:
    pointers = level.values.ctypes.data, level.scales.ctypes.data
    steps = *level.values.strides[:2], *level.scales.strides
    return native.Level(*pointers, *steps, level.values.shape[1], native.KINDS[level.format.name])


def _portable(task: _Task, _: native.Kernel) -> None:
    exact = any(not level.format.scaled for level in task.levels)
    per_page = sum(level.values.shape[1] for level in task.levels) * task.queries.values.shape[-1]

    def work(span: tuple[int, int]) -> None:
        part = slice(*span)
        so_far = None if task.best is None else task.best[part]
        pages = part if task.rows is None else task.rows[part]
        task.scores[:, part] = _block_scores(task.queries, task.levels, pages, exact, so_far)

    task.run(work, max(1, _BLOCK_VALUES // per_page))


def _block_scores(
    queries: QuantizedQueries,
    levels: Sequence[Vectors],
    pages: Any,
    exact: bool,
    so_far: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Scores of some pages, (queries, pages); ``so_far`` (pages, queries, r_q) is updated."""
    n_queries, r_q, dimension = queries.values.shape
    values = queries.exact if exact else queries.values
    flat = values.reshape(-1, dimension)
    parts = [_best_of(flat, level, pages, exact) for level in levels]  # (queries * r_q, pages)
    best = functools.reduce(np.maximum, parts).reshape(n_queries, r_q, -1)
    if so_far is not None:
        best = np.maximum(best, so_far.transpose(1, 2, 0))
        so_far[:] = best.transpose(2, 0, 1)
    weights = np.ones_like(queries.scales) if exact else queries.scales
    total = np.zeros((n_queries, best.shape[2]), dtype=np.float32)
    for i in range(r_q):  # in index order, which is part of the definition
        total += best[:, i] * weights[:, i, None]
    return total


def _best_of(flat: NDArray[Any], level: Vectors, pages: Any, exact: bool) -> NDArray[np.float32]:
    """The best similarity of each query vector in a level, (queries * r_q, pages)."""
    scales = level.scales[pages].astype(np.float32)
    numbers = level.format.whole(level.values[pages], level.dimension).reshape(-1, flat.shape[1])
    if not is_installed("torch"):
        products = _numpy_products(flat, numbers, exact).reshape(len(flat), *scales.shape)
        largest: NDArray[np.float32] = (products * scales).max(axis=2)
        return largest
    import torch

    similar = _products(flat, numbers, exact).view(len(flat), *scales.shape)
    best: NDArray[np.float32] = similar.mul_(torch.from_numpy(scales)).amax(2).numpy()
    return best


def _products(flat: NDArray[Any], numbers: NDArray[Any], exact: bool) -> Any:
    """flat @ numbers.T as a float32 tensor; of whole numbers only the result is rounded.

    By torch, whose product of 16 rows is 4 times as fast as numpy's; in int8 another 3 to 15 times.
    """
    import torch

    if not exact and flat.shape[1] > 1 and int8_products():  # for 1 value torch 2.13 is wrong
        # Mapped files are read-only, which torch does not take.
        own = numbers if numbers.flags.writeable else numbers.copy()
        return torch._int_mm(torch.from_numpy(flat), torch.from_numpy(own).T).float()
    left, right = (torch.from_numpy(part.astype(np.float32)) for part in (flat, numbers))
    if exact or flat.shape[1] <= _EXACT:
        return left @ right.T
    parts = zip(torch.split(left, _EXACT, 1), torch.split(right, _EXACT, 1), strict=True)
    return functools.reduce(torch.add, ((a @ b.T).long() for a, b in parts)).float()


def _numpy_products(flat: NDArray[Any], numbers: NDArray[Any], exact: bool) -> NDArray[np.float32]:
    """flat @ numbers.T in float32 where torch is not installed; of whole numbers the same bits."""
    left, right = (part.astype(np.float32) for part in (flat, numbers))
    if exact or flat.shape[1] <= _EXACT:
        return left @ right.T
    total = np.zeros((len(left), len(right)), np.int64)
    for start in range(0, flat.shape[1], _EXACT):
        part = np.s_[:, start : start + _EXACT]
        total += (left[part] @ right[part].T).astype(np.int64)
    return total.astype(np.float32)


@functools.cache
def int8_products() -> bool:
    """Whether the processor multiplies int8 itself, so that torch's int8 product is faster."""
    import torch

    return bool(getattr(torch.cpu, "_is_vnni_supported", bool)()) and hasattr(torch, "_int_mm")
