"""The cascade: the full budget's ranking at about the cost of a coarse one.

A page's vectors lie in levels (the first vector, the next 3, the next 4, ...). A search scores
all pages with the first level, keeps a share of them, scores these with one level more, and so on:
only the last few are read whole. ::

    levels = [first, next_3, next_4, next_8, next_48]          # Quantized or Encoded, same pages
    found = search(queries, levels, plan, k=10, allowed=mask)  # one Found a query
    found[0].rows, found[0].scores, found[0].read

The plan says how many go on from each stage; :mod:`metaembed_rag.search.measuring` finds shares
that keep a wanted recall. :func:`exhaustive` is the exact twin of any plan; :func:`search_exact`
proves its top k exact. Scores are those of
:func:`metaembed_rag.vectors.maxsim.maxsim_quantized` (the query unrounded), whichever way a page
was found; equal scores are ordered by row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.search.plan import Plan
from metaembed_rag.vectors.integers import (
    QuantizedQueries,
    Vectors,
    first_vectors,
    maxsim_levels,
    maxsim_unrounded,
    no_similarities,
    quantize_queries,
)
from metaembed_rag.vectors.tensors import TensorPages

_RANKED = 30
"""Twice k pages of the last stage, at most so many more than k, are ranked in float: on real texts
as good as 8 times k, recall@10 against fp32 vectors 0.9965 after 0.9955 in int8."""

QUERIES_AT_ONCE = 16
"""Queries that read the first level together; their scores of 100,000 pages take 6 MB."""

_ROUNDING = 1e-4
"""What float32 sums of 16 similarities may be off by, generously."""


@dataclass(frozen=True)
class Found:
    """The best pages of one query.

    Attributes:
        rows: int64, best first; fewer than k only where fewer are allowed, and more only where
            ``ties`` were asked for.
        scores: float32 raw sums, as many.
        read: Pages scored in each stage, the last one included.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    read: tuple[int, ...]


def search(
    queries: NDArray[np.float32],
    levels: Sequence[Vectors],
    plan: Plan,
    k: int,
    *,
    allowed: NDArray[Any] | None = None,
    ties: bool = False,
    threads: int | None = None,
) -> list[Found]:
    """The best ``k`` pages of each query by a plan.

    Args:
        queries: float32 unit vectors, shape (r_q, D) or (queries, r_q, D).
        levels: The pages' vectors in order, each level of shape (pages, r, ...), all in one format.
        plan: How many pages go on from each stage.
        k: Pages wanted.
        allowed: The pages that a filter lets pass: a bool mask of shape (pages,) or row numbers.
            Shares are then shares of these, so the top k stays as complete.
        ties: Also the pages beyond k that score as the k-th does, for an order of one's own.
        threads: As many as torch uses, by default.
    """
    rows = allowed_rows(allowed)
    ready = quantize_queries(queries).first(plan.budget.r_q)
    first = _stage_budgets(plan)[0]
    return [
        descend(query, levels, plan, k, rows, scores, ties, threads)
        for query, scores in _first_scores(ready, levels, first, rows, threads)
    ]


def exhaustive(
    queries: NDArray[np.float32],
    levels: Sequence[Vectors],
    budget: RetrievalBudget,
    k: int,
    *,
    allowed: NDArray[Any] | None = None,
    threads: int | None = None,
) -> list[Found]:
    """Every allowed page scored at the budget: the exact twin of :func:`search`."""
    return search(queries, levels, Plan(budget), k, allowed=allowed, threads=threads)


def search_exact(
    queries: NDArray[np.float32],
    levels: Sequence[Vectors],
    budget: RetrievalBudget,
    k: int,
    *,
    elsewhere: TensorPages | None = None,
    allowed: NDArray[Any] | None = None,
    ties: bool = False,
    threads: int | None = None,
) -> list[Found]:
    """The exact top ``k`` of unit vectors at a budget.

    Every page is scored in int8, whose rounding of the query is bounded (Cauchy-Schwarz: a query
    vector that is off by e changes its similarity with a unit vector by at most e), and all pages
    that it may hide are ranked in float. Bounds from coarse levels (covering radii, or a smaller
    copy of the vectors) excluded not one page of 10,000 real ones, because fine vectors point far
    away from coarse ones; so all are scored.

    The arguments are those of :func:`search`. ``elsewhere`` holds the same pages on another device,
    which then scores them to the same bits. The last number of ``read`` counts the pages that were
    ranked in float, the one before it those that were scored in int8.
    """
    rows = allowed_rows(allowed)
    ready = quantize_queries(queries).first(budget.r_q)
    return [
        _ranked_surely(query, levels, budget, k, rows, scores, ties)
        for query, scores in _first_scores(ready, levels, budget, rows, threads, elsewhere)
    ]


def _stage_budgets(plan: Plan) -> list[RetrievalBudget]:
    """All stages take all query vectors: beside the page vectors that are read they cost little."""
    r_q = plan.budget.r_q
    return [*(RetrievalBudget(r_q, stage.r_c) for stage in plan.stages), plan.budget]


def allowed_rows(allowed: NDArray[Any] | None) -> NDArray[np.int64] | None:
    """Ascending row numbers of a bool mask or of row numbers; None, which stands for all, stays."""
    if allowed is None:
        return None
    rows = np.asarray(allowed)
    return np.flatnonzero(rows) if rows.dtype == bool else np.unique(rows.astype(np.int64))


def _first_scores(
    queries: QuantizedQueries,
    levels: Sequence[Vectors],
    budget: RetrievalBudget,
    rows: NDArray[np.int64] | None,
    threads: int | None,
    elsewhere: TensorPages | None = None,
) -> Iterator[tuple[QuantizedQueries, NDArray[np.float32]]]:
    """Each query with the scores of all allowed pages; some queries read the vectors together."""
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        batch = queries.slice(slice(start, start + QUERIES_AT_ONCE))
        if elsewhere is None:
            scores = maxsim_levels(batch, levels, budget, rows=rows, threads=threads)
        else:
            scores = elsewhere.scores(batch.exact, budget, rows)
        yield from ((batch.one(i), one) for i, one in enumerate(scores))


def descend(
    query: QuantizedQueries,
    levels: Sequence[Vectors],
    plan: Plan,
    k: int,
    rows: NDArray[np.int64] | None,
    scores: NDArray[np.float32],
    ties: bool,
    threads: int | None,
) -> Found:
    """From the first stage's scores down to the top k.

    Args:
        query: One query.
        levels: The pages' vectors, as for :func:`search`.
        plan: How many pages go on.
        k: Pages wanted.
        rows: The pages that are scored, ascending; None for all.
        scores: float32, shape (rows,): theirs by the first stage's vectors.
        ties: Also the pages beyond k that score as the k-th does.
        threads: As many as torch uses, by default.
    """
    pages, read = len(scores), [len(scores)]
    best, scored = np.empty(0, dtype=np.float32), 0  # similarities in the first `scored` vectors
    for stage, budget in zip(plan.stages, _stage_budgets(plan)[1:], strict=True):
        places = _best(scores, stage.kept(pages, k))
        rows = places if rows is None else rows[places]
        if not 0 < scored < budget.r_c:
            best, scored = no_similarities(len(rows), 1, budget.r_q), 0
        else:
            best = best[places]
        fresh = first_vectors(levels, budget.r_c, after=scored)
        scores = maxsim_levels(query, fresh, rows=rows, best=best, threads=threads)[0]
        scored = budget.r_c
        read.append(len(rows))
    places = _best(scores, k + min(k, _RANKED))
    rows = places if rows is None else rows[places]
    return _ranked(query, levels, plan.budget, k, rows, tuple(read), ties)


def _best(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Where the ``count`` best scores are, in order, and all that equal the last one."""
    if count >= len(scores):
        return np.arange(len(scores))
    at_least = np.partition(scores, len(scores) - count)[len(scores) - count]
    return np.flatnonzero(scores >= at_least)


def _ranked(
    query: QuantizedQueries,
    levels: Sequence[Vectors],
    budget: RetrievalBudget,
    k: int,
    rows: NDArray[np.int64],
    read: tuple[int, ...],
    ties: bool = False,
) -> Found:
    """The top k of a few rows, by the scores of the stored vectors with the query as it is."""
    scores = maxsim_unrounded(query, levels, budget, rows)[0]
    order = np.lexsort((rows, -scores))
    count = k
    if ties and len(order) > k:
        count = int((scores >= scores[order[k - 1]]).sum())
    return Found(rows[order[:count]], scores[order[:count]], read)


def _ranked_surely(
    query: QuantizedQueries,
    levels: Sequence[Vectors],
    budget: RetrievalBudget,
    k: int,
    rows: NDArray[np.int64] | None,
    scores: NDArray[np.float32],
    ties: bool,
) -> Found:
    """The exact top k of pages by their int8 scores: all that rounding may hide are ranked."""
    slack = _query_error(query, levels) + _ROUNDING
    kept = np.arange(len(scores))
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= least - 2 * slack)
    last = kept if rows is None else rows[kept]
    return _ranked(query, levels, budget, k, last, (len(scores), len(last)), ties)


def _query_error(query: QuantizedQueries, levels: Sequence[Vectors]) -> float:
    """How much the int8 rounding of the query can change a score of unit vectors.

    A stored vector is at most its rounding error longer than 1: sqrt(D) times the largest error of
    a value, which is 1/254 for int8 and 1/16 at the worst. With fp16 levels the query is not
    rounded.
    """
    names = {level.format.name for level in levels}
    if "fp16" in names:
        return 0.0
    rounded = query.values[0] * query.scales[0][:, None]
    off = float(np.linalg.norm(query.exact[0] - rounded, axis=-1).sum())
    longest = 1 + math.sqrt(rounded.shape[1]) / (250 if names == {"int8"} else 15)
    return off * longest
