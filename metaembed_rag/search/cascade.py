"""The cascade: the full budget's ranking at about the cost of a coarse one.

A page's vectors lie in levels (the first vector, the next 3, the next 4, ...). A search scores
all pages with the first level, keeps a share of them, scores these with one level more, and so on:
only the last few are read whole. ::

    levels = [first, next_3, next_4, next_8, next_48]          # Quantized or Encoded, same pages
    calibration = calibrate(sample_queries, levels, k=10, recalls=[0.95, 0.99])
    plan = choose(calibration, min_recall=0.99)                # or max_ms=15, pages=len(levels[0])
    found = search(queries, levels, plan, k=10, allowed=mask)  # one Found a query
    found[0].rows, found[0].scores, found[0].read

An index holds the levels (mapped from disk), keeps the calibration as JSON
(:meth:`Calibration.to_json`), turns ``where`` into the mask, and ``rows`` into pages.
:func:`exhaustive` is the exact twin of any plan; :func:`search_exact` proves its top k exact.
Scores are those of :func:`metaembed_rag.vectors.maxsim.maxsim_quantized` (the query unrounded),
whichever way a page was found; equal scores are ordered by row.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import BudgetError
from metaembed_rag.vectors.formats import Encoded
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

_SPARE = 30
"""Every stage hands on at least so many pages more than k."""

_RANKED = 30
"""Twice k pages of the last stage, at most so many more than k, are ranked in float: on real texts
as good as 8 times k, recall@10 against fp32 vectors 0.9965 after 0.9955 in int8."""

_QUERIES_AT_ONCE = 16
"""Queries that read the first level together; their scores of 100,000 pages take 6 MB."""

_SCORES_AT_ONCE, _PAGES_AT_ONCE = 1_600_000, 4096
"""Of calibrating: scores a size, and pages whose best similarities are kept between sizes. With 16
queries 32 MB and 4 MB."""

_FEWER = 0.9
"""A plan that reads more is measured where it is expected to lose a tenth fewer pages."""

_EXACT_TIMED = 5
"""Queries that time the exhaustive plan, whose recall is known."""

_ROUNDING = 1e-4
"""What float32 sums of 16 similarities may be off by, generously."""


@dataclass(frozen=True)
class Stage:
    """Score with the first ``r_c`` vectors of a page, keep the best.

    Attributes:
        r_c: Page vectors.
        share: Of the pages that a filter lets pass, kept; may be 0 where ``least`` is given.
        least: Keep at least so many; k and 30 more by default.
    """

    r_c: int
    share: float
    least: int | None = None

    def __post_init__(self) -> None:
        enough = self.share > 0 or (self.share == 0 and self.least)
        if self.r_c < 1 or not enough or self.share > 1:
            raise BudgetError(f"a stage needs r_c of at least 1 and a share in (0, 1], not {self}")

    def kept(self, pages: int, k: int) -> int:
        """How many of ``pages`` go on."""
        least = k + _SPARE if self.least is None else max(k, self.least)
        return max(math.ceil(self.share * pages), least)


@dataclass(frozen=True)
class Plan:
    """How to search.

    Attributes:
        budget: Of the last stage, which ranks.
        stages: The stages before it, from coarse to fine; none for an exhaustive search.
        recall: Share of the full budget's exact top k that it found when it was measured, on
            queries that had no part in choosing the shares; NaN where nobody measured.
        ms: Median milliseconds of a query then, over ``pages`` pages; NaN likewise.
        pages: Pages then.
    """

    budget: RetrievalBudget
    stages: tuple[Stage, ...] = ()
    recall: float = math.nan
    ms: float = math.nan
    pages: int = 0

    def ms_for(self, pages: int | None) -> float:
        """Expected milliseconds for another number of pages: in proportion."""
        return self.ms if pages is None or not self.pages else self.ms * pages / self.pages

    def vectors_read(self) -> float:
        """Page vectors read a page of the collection, on average."""
        shares = [1.0, *(stage.share for stage in self.stages)]
        sizes = [*(stage.r_c for stage in self.stages), self.budget.r_c]
        return sum(share * size for share, size in zip(shares, _fresh(sizes), strict=True))


SAFE = (Stage(1, 0.1, 3000), Stage(4, 0.03, 2000), Stage(16, 0.01, 1000))
"""Stages for an index that nobody calibrated. With ``mini``, on 10,000 pages of TeX manuals,
recall@10 at (16, 64) is 0.98 (100 titles as queries), in a third of the exhaustive search's time;
calibrate where the very same ten pages matter."""


def safe_plan(budget: RetrievalBudget) -> Plan:
    """The plan with those of the :data:`SAFE` stages that are coarser than the budget."""
    return Plan(budget, tuple(stage for stage in SAFE if stage.r_c < budget.r_c))


def candidates_plan(budget: RetrievalBudget, count: int) -> Plan:
    """The plan that scores the best ``count`` pages by their first vector, at the budget."""
    return Plan(budget, (Stage(1, 0.0, count),))


@dataclass(frozen=True)
class Calibration:
    """Plans that were measured on one collection, and how.

    Attributes:
        k: Size of the top that they were to find.
        queries: How many were asked.
        pages: Of the collection then.
        plans: With recall and milliseconds.
        about: What the vectors were of, in the caller's words.
        fetch_ms: Milliseconds of a search that are the same for all plans.
        recall: That was wanted, where nothing else is.
    """

    k: int
    queries: int
    pages: int
    plans: tuple[Plan, ...]
    about: str = ""
    fetch_ms: float = 0.0
    recall: float | None = None

    def to_json(self) -> str:
        """As text, for :meth:`from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: It did not write this.
        """
        try:
            data = json.loads(text)
            plans = tuple(_plan_of(plan) for plan in data.pop("plans"))
            return cls(plans=plans, **data)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no calibration: {error}") from error


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


@dataclass(frozen=True)
class Shadow:
    """A smaller copy of all vectors with its error, by which pages are excluded for certain.

    Attributes:
        levels: For example the vectors in int4.
        errors: float32, shape (pages,): the largest distance of a page's vector from its copy.
    """

    levels: tuple[Vectors, ...]
    errors: NDArray[np.float32]


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
        plan: From :func:`choose`, or made by hand.
        k: Pages wanted.
        allowed: The pages that a filter lets pass: a bool mask of shape (pages,) or row numbers.
            Shares are then shares of these, so the top k stays as complete.
        ties: Also the pages beyond k that score as the k-th does, for an order of one's own.
        threads: As many as torch uses, by default.
    """
    rows = _allowed_rows(allowed)
    ready = quantize_queries(queries).first(plan.budget.r_q)
    first = _stage_budgets(plan)[0]
    return [
        _descend(query, levels, plan, k, rows, scores, ties, threads)
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
    plan: Plan,
    k: int,
    *,
    shadow: Shadow | None = None,
    elsewhere: TensorPages | None = None,
    allowed: NDArray[Any] | None = None,
    ties: bool = False,
    threads: int | None = None,
) -> list[Found]:
    """The exact top ``k`` of unit vectors, with proof that no other page belongs there.

    The k-th score t of the plan's search is a lower bound of the true one. A page is excluded if
    its score from the shadow plus all that this may be off by stays below t (Cauchy-Schwarz: a
    query vector q and a vector at distance e from its copy: at most |q| e). All other pages are
    scored: at first in int8, whose rounding of the query is bounded in the same way, then in float.

    Without a shadow every page is scored in int8 and the plan's stages have nothing to do: bounds
    from the coarse levels (covering radii) excluded not one page of 10,000 real ones, because fine
    vectors point far away from coarse ones. ``elsewhere`` then scores them, to the same bits: the
    same pages on another device.

    Returns:
        As :func:`search`; the last number of ``read`` counts the pages that were ranked in float,
        the one before it those scored in int8.
    """
    rows = _allowed_rows(allowed)
    ready = quantize_queries(queries).first(plan.budget.r_q)
    if shadow is None:
        return [
            _sure(query, levels, plan.budget, k, rows, scores, ties)
            for query, scores in _first_scores(ready, levels, plan.budget, rows, threads, elsewhere)
        ]
    quick = search(queries, levels, plan, k, allowed=rows, threads=threads)
    return [
        _prove(ready.one(i), levels, plan.budget, k, one, shadow, rows, ties, threads)
        for i, one in enumerate(quick)
    ]


def shadow_of(levels: Sequence[Vectors], format: Any) -> Shadow:
    """A shadow in another format (of :mod:`metaembed_rag.vectors.formats`), such as int4."""
    copies = tuple(format.encode(_decoded(level)) for level in levels)
    errors = [
        np.linalg.norm(_decoded(level) - copy.decode(), axis=-1).max(axis=1)
        for level, copy in zip(levels, copies, strict=True)
    ]
    return Shadow(copies, np.max(errors, axis=0))


def calibrate(
    queries: NDArray[np.float32],
    levels: Sequence[Vectors],
    k: int = 10,
    recalls: Sequence[float] = (0.9, 0.95, 0.99),
    *,
    budgets: Iterable[RetrievalBudget] | None = None,
    allowed: NDArray[Any] | None = None,
    threads: int | None = None,
) -> Calibration:
    """Find the shares that keep a wanted recall, and measure each plan.

    Half of the queries choose the shares, so that no more of the true pages are lost than the
    wanted recall allows less two standard errors; the other half measures recall and time.

    Args:
        queries: float32, shape (queries, r_q, D): some hundred of the kind that will be asked.
        levels: The pages' vectors.
        k: The size of the top that has to be found.
        recalls: The recalls wanted, each in (0, 1].
        budgets: Those of the last stage; the full one, and those at each level, by default.
        allowed: The pages to calibrate on, as for :func:`search`; all by default.
        threads: As many as torch uses, by default.

    Raises:
        BudgetError: There are fewer than 2 queries, or a recall makes no sense.
    """
    if len(queries) < 2:
        raise BudgetError("calibrating takes at least 2 queries; some hundred give good shares")
    if not recalls or not all(0 < recall <= 1 for recall in recalls):
        raise BudgetError(f"a wanted recall is over 0 and at most 1, not {list(recalls)}")
    sizes = [int(size) for size in np.cumsum([level.values.shape[1] for level in levels])]
    full = RetrievalBudget(queries.shape[1], sizes[-1])
    wanted = list(budgets) if budgets is not None else _budgets_at(sizes, full)
    over = _Pages(levels, _allowed_rows(allowed), threads)
    fitting, measuring = queries[::2], queries[1::2]
    ranks = _ranks(fitting, over, full, wanted, k)
    plans = _worthwhile(ranks, full, recalls, k, len(over))
    measured = _measured(plans, measuring, over, k, full)
    return Calibration(k, len(queries), len(over), tuple(measured))


def choose(
    calibration: Calibration,
    *,
    max_ms: float | None = None,
    min_recall: float | None = None,
    pages: int | None = None,
) -> Plan:
    """The plan for ``budget="auto"``.

    With ``min_recall``, the fastest that reaches it; with ``max_ms`` alone, the one of highest
    recall that is fast enough; with neither, the fastest that reaches the recall for which it was
    calibrated, or else the highest one.

    Args:
        calibration: From :func:`calibrate`.
        max_ms: Milliseconds that a query may take, beyond encoding it; ``fetch_ms`` of the
            calibration counts too.
        min_recall: Share of the full budget's exact top k that has to be found.
        pages: Pages now, if there are more or fewer than when it was calibrated.

    Raises:
        BudgetError: No plan does; the message names the nearest.
    """
    if max_ms is None and min_recall is None:
        min_recall = _reachable(calibration)
    able = [
        plan
        for plan in calibration.plans
        if (max_ms is None or plan.ms_for(pages) + calibration.fetch_ms <= max_ms)
        and (min_recall is None or plan.recall >= min_recall)
    ]
    if not able:
        raise BudgetError(_nothing_fits(calibration, max_ms, min_recall, pages))
    if min_recall is not None:
        return min(able, key=lambda plan: (plan.ms, -plan.recall))
    return min(able, key=lambda plan: (-plan.recall, plan.ms))


def _reachable(calibration: Calibration) -> float:
    """The recall that was wanted, or the best one where none reached it."""
    best = max(plan.recall for plan in calibration.plans)
    return best if calibration.recall is None else min(best, calibration.recall)


# -- searching ---------------------------------------------------------------------------------


def _stage_budgets(plan: Plan) -> list[RetrievalBudget]:
    """All stages take all query vectors: beside the page vectors that are read they cost little."""
    r_q = plan.budget.r_q
    return [*(RetrievalBudget(r_q, stage.r_c) for stage in plan.stages), plan.budget]


def _fresh(sizes: Sequence[int]) -> list[int]:
    """Of stages that score with so many vectors a page, how many each one reads of a page.

    From the second stage on the best similarities are handed on. The first one's are not: for all
    pages they would be 16 numbers each to write, and its few vectors are soon read again.
    """
    return [*sizes[:2], *(max(0, b - a) for a, b in itertools.pairwise(sizes[1:]))]


def _allowed_rows(allowed: NDArray[Any] | None) -> NDArray[np.int64] | None:
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
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        batch = queries.slice(slice(start, start + _QUERIES_AT_ONCE))
        if elsewhere is None:
            scores = maxsim_levels(batch, levels, budget, rows=rows, threads=threads)
        else:
            scores = elsewhere.scores(batch.exact, budget, rows)
        yield from ((batch.one(i), one) for i, one in enumerate(scores))


def _descend(
    query: QuantizedQueries,
    levels: Sequence[Vectors],
    plan: Plan,
    k: int,
    rows: NDArray[np.int64] | None,
    scores: NDArray[np.float32],
    ties: bool,
    threads: int | None,
) -> Found:
    """From the first stage's scores (allowed pages,) down to the top k."""
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


def _decoded(level: Vectors) -> NDArray[np.float32]:
    return level.decode() if isinstance(level, Encoded) else level.dequantize()


# -- the proof ---------------------------------------------------------------------------------


def _prove(
    query: QuantizedQueries,
    levels: Sequence[Vectors],
    budget: RetrievalBudget,
    k: int,
    quick: Found,
    shadow: Shadow,
    rows: NDArray[np.int64] | None,
    ties: bool,
    threads: int | None,
) -> Found:
    if len(quick.rows) < k:  # then these are all that are allowed
        return quick
    slack = _query_error(query, levels) + _ROUNDING
    near = maxsim_levels(query, shadow.levels, budget, rows=rows, threads=threads)[0]
    errors = shadow.errors if rows is None else shadow.errors[rows]
    reach = float(np.linalg.norm(query.exact[0], axis=-1).sum())
    # The query's rounding meets a copy here, which is longer than the vector by its error.
    most = near + errors * (reach + slack) + slack
    kept = np.flatnonzero(most >= float(quick.scores[-1]))
    rows = kept if rows is None else rows[kept]
    scores = maxsim_levels(query, levels, budget, rows=rows, threads=threads)[0]
    return _sure(query, levels, budget, k, rows, scores, ties, (*quick.read, len(near)))


def _sure(
    query: QuantizedQueries,
    levels: Sequence[Vectors],
    budget: RetrievalBudget,
    k: int,
    rows: NDArray[np.int64] | None,
    scores: NDArray[np.float32],
    ties: bool,
    read: tuple[int, ...] = (),
) -> Found:
    """The exact top k of pages by their int8 scores: all that rounding may hide are ranked."""
    slack = _query_error(query, levels) + _ROUNDING
    kept = np.arange(len(scores))
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= least - 2 * slack)
    last = kept if rows is None else rows[kept]
    return _ranked(query, levels, budget, k, last, (*read, len(scores), len(last)), ties)


def _query_error(query: QuantizedQueries, levels: Sequence[Vectors]) -> float:
    """How much the int8 rounding of the query can change a score of unit vectors.

    A stored vector is at most its rounding error longer than 1: sqrt(D) times the largest error of
    a value, which is 1/254 for int8 and 1/16 at the worst. With fp16 levels the query is not
    rounded.
    """
    names = {level.format.name if isinstance(level, Encoded) else "int8" for level in levels}
    if "fp16" in names:
        return 0.0
    rounded = query.values[0] * query.scales[0][:, None]
    off = float(np.linalg.norm(query.exact[0] - rounded, axis=-1).sum())
    longest = 1 + math.sqrt(rounded.shape[1]) / (250 if names == {"int8"} else 15)
    return off * longest


# -- calibration -------------------------------------------------------------------------------


def _budgets_at(sizes: Sequence[int], full: RetrievalBudget) -> list[RetrievalBudget]:
    """The full budget, and the paper's budgets that end at a level."""
    small = [b for b in RetrievalBudget.paper() if b.r_c in sizes and b.r_q <= full.r_q]
    return [*(b for b in small if b.r_c < full.r_c), full]


@dataclass(frozen=True)
class _Pages:
    """Pages to calibrate on."""

    levels: Sequence[Vectors]
    rows: NDArray[np.int64] | None
    threads: int | None

    def __len__(self) -> int:
        return len(self.levels[0]) if self.rows is None else len(self.rows)

    def exhaustive(
        self, queries: NDArray[np.float32], budget: RetrievalBudget, k: int
    ) -> list[Found]:
        return exhaustive(queries, self.levels, budget, k, allowed=self.rows, threads=self.threads)

    def search(self, query: NDArray[np.float32], plan: Plan, k: int) -> Found:
        return search(query, self.levels, plan, k, allowed=self.rows, threads=self.threads)[0]

    def batches(self, queries: NDArray[np.float32]) -> Iterator[QuantizedQueries]:
        """So many queries at a time that their scores at some sizes fit into memory."""
        ready = quantize_queries(queries)
        step = min(_QUERIES_AT_ONCE, max(1, _SCORES_AT_ONCE // max(1, len(self))))
        return (ready.slice(slice(i, i + step)) for i in range(0, len(ready), step))

    def sizes(self, budget: RetrievalBudget) -> tuple[int, ...]:
        """Vectors a page up to the ends of levels below the budget's, and the budget's."""
        ends = itertools.accumulate(level.values.shape[1] for level in self.levels)
        return (*(end for end in ends if end < budget.r_c), budget.r_c)

    def scores(self, queries: QuantizedQueries, sizes: Sequence[int]) -> NDArray[np.float32]:
        """By the first so many vectors of each page, shape (sizes, queries, pages).

        Every vector is read once.
        """
        found = np.empty((len(sizes), len(queries), len(self)), dtype=np.float32)
        for start in range(0, len(self), _PAGES_AT_ONCE):
            part = slice(start, min(start + _PAGES_AT_ONCE, len(self)))
            rows = np.arange(part.start, part.stop) if self.rows is None else self.rows[part]
            best = no_similarities(len(rows), *queries.values.shape[:2])
            for place, (begin, end) in enumerate(itertools.pairwise((0, *sizes))):
                fresh = first_vectors(self.levels, end, after=begin)
                found[place, :, part] = maxsim_levels(
                    queries, fresh, rows=rows, best=best, threads=self.threads
                )
        return found

    def top(
        self, query: QuantizedQueries, scores: NDArray[np.float32], budget: RetrievalBudget, k: int
    ) -> NDArray[np.int64]:
        """Positions of the best k by all scores (pages,) at a budget."""
        found = _descend(
            query, self.levels, Plan(budget), k, self.rows, scores, False, self.threads
        )
        return found.rows if self.rows is None else np.searchsorted(self.rows, found.rows)


@dataclass(frozen=True)
class _Ranks:
    """Where the full budget's true pages come at a budget, and with fewer page vectors.

    Attributes:
        budget: Which.
        sizes: Page vectors up to the ends of coarser levels, and the budget's.
        places: int64, shape (sizes, true pages): how many pages score at least as much.
    """

    budget: RetrievalBudget
    sizes: tuple[int, ...]
    places: NDArray[np.int64]

    def recall(self, plan: Plan, k: int, pages: int) -> float:
        """The share of the true pages that a plan of this budget finds, at the least.

        A page that comes n-th of all pages comes n-th or better of those that are left.
        """
        limits = {stage.r_c: stage.kept(pages, k) for stage in plan.stages} | {self.sizes[-1]: k}
        most = np.array([limits.get(size, pages) for size in self.sizes])
        return float((self.places <= most[:, None]).all(axis=0).mean())


def _ranks(
    queries: NDArray[np.float32],
    over: _Pages,
    full: RetrievalBudget,
    budgets: Sequence[RetrievalBudget],
    k: int,
) -> list[_Ranks]:
    """Of each budget; the vectors are read once a budget."""
    found: dict[RetrievalBudget, list[NDArray[np.int64]]] = {budget: [] for budget in budgets}
    for batch in over.batches(queries):
        whole = over.scores(batch, over.sizes(full))
        truth = [over.top(batch.one(i), one, full, k) for i, one in enumerate(whole[-1])]
        for budget in budgets:
            fewer = batch.first(budget.r_q), over.sizes(budget)
            scores = whole if budget == full else over.scores(*fewer)
            found[budget] += [_places(scores[:, i], true) for i, true in enumerate(truth)]
    return [_Ranks(b, over.sizes(b), np.concatenate(found[b], axis=1)) for b in budgets]


def _places(scores: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many pages score at least as much as those at ``positions``, (sizes, positions)."""
    places = [[(row >= row[position]).sum() for position in positions] for row in scores]
    return np.array(places, dtype=np.int64).reshape(len(scores), len(positions))


def _worthwhile(
    ranks: Sequence[_Ranks],
    full: RetrievalBudget,
    recalls: Sequence[float],
    k: int,
    pages: int,
) -> list[Plan]:
    """The exhaustive and the safe plan, and those that read more than others only to find more."""
    expected = [
        (_reading(plan, k, pages), plan, of.recall(plan, k, pages))
        for of in ranks
        for plan in _plans(of, recalls, k, pages)
    ]
    found, lost = [Plan(full), safe_plan(full)], math.inf
    for _, plan, recall in sorted(expected, key=lambda one: (one[0], -one[2])):
        if 1 - recall <= _FEWER * lost and lost:
            found.append(plan)
            lost = 1 - recall
    return list(dict.fromkeys(found))


def _reading(plan: Plan, k: int, pages: int) -> float:
    """Page vectors read a page: :meth:`Plan.vectors_read` with what stages keep at the least."""
    kept = [pages, *(min(pages, stage.kept(pages, k)) for stage in plan.stages)]
    sizes = _fresh([*(stage.r_c for stage in plan.stages), plan.budget.r_c])
    return sum(n * size for n, size in zip(kept, sizes, strict=True)) / pages


def _plans(of: _Ranks, recalls: Sequence[float], k: int, pages: int) -> list[Plan]:
    """All pages at a budget, the safe stages, and the cheapest for each recall of what it finds."""
    ranks = of.places[:-1, of.places[-1] <= k]
    found = [Plan(of.budget), safe_plan(of.budget)]
    for recall in recalls:
        losses = _losses(recall, ranks.shape[1])
        plans = [
            Plan(
                of.budget,
                _cheapest_shares(
                    ranks[list(chosen)], [of.sizes[i] for i in chosen], losses, of.budget, pages
                ),
            )
            for n in range(len(ranks) + 1)
            for chosen in itertools.combinations(range(len(ranks)), n)
        ]
        found.append(min(plans, key=Plan.vectors_read))
    return found


def _losses(recall: float, pairs: int) -> int:
    """How many of the true pages the shares may lose: two standard errors fewer than wanted."""
    expected = (1 - recall) * pairs
    return max(0, math.floor(expected - 2 * math.sqrt(expected * recall)))


def _cheapest_shares(
    ranks: NDArray[np.int64],
    sizes: Sequence[int],
    losses: int,
    budget: RetrievalBudget,
    pages: int,
) -> tuple[Stage, ...]:
    """Shares that lose at most ``losses`` true pages and read few vectors.

    Greedy: whichever stage gains most by giving up its worst page gives it up.
    """
    if not len(sizes) or not ranks.size:
        return ()
    costs = np.array(_fresh([*sizes, budget.r_c])[1:])  # vectors read of a page that is kept
    alive = ranks
    for _ in range(min(losses, ranks.shape[1] - 1)):
        without = [np.delete(alive, column, axis=1) for column in alive.argmax(axis=1)]
        alive = min(without, key=lambda left: float(costs @ left.max(axis=1)))
    keep = np.minimum.accumulate(alive.max(axis=1))
    return tuple(Stage(size, float(n) / pages) for size, n in zip(sizes, keep, strict=True))


def _measured(
    plans: Sequence[Plan],
    queries: NDArray[np.float32],
    over: _Pages,
    k: int,
    full: RetrievalBudget,
) -> list[Plan]:
    """The plans with their recall and time on these queries, asked one by one.

    Each query is asked by every plan in turn, so that other work on the machine meets all alike.
    The exhaustive plan's recall is known; a few queries time it.
    """
    truth = [set(one.rows.tolist()) for one in over.exhaustive(queries, full, k)]
    times: dict[Plan, list[float]] = {plan: [] for plan in plans}
    hits = dict.fromkeys(plans, 0)
    for number, (query, wanted) in enumerate(zip(queries, truth, strict=True)):
        for plan in plans:
            if plan != Plan(full) or number < _EXACT_TIMED:
                start = time.perf_counter()
                found = over.search(query, plan, k)
                times[plan].append(time.perf_counter() - start)
                hits[plan] += len(wanted & set(found.rows.tolist()))
    total = max(1, sum(map(len, truth)))
    return [
        replace(
            plan,
            recall=1.0 if plan == Plan(full) else hits[plan] / total,
            ms=round(1000 * float(np.median(times[plan])), 4),
            pages=len(over),
        )
        for plan in plans
    ]


def _plan_of(data: dict[str, Any]) -> Plan:
    stages = tuple(Stage(**stage) for stage in data.pop("stages"))
    return Plan(RetrievalBudget(**data.pop("budget")), stages, **data)


def _nothing_fits(
    calibration: Calibration, max_ms: float | None, min_recall: float | None, pages: int | None
) -> str:
    more = calibration.fetch_ms
    best = max(calibration.plans, key=lambda plan: plan.recall)
    fast = min(calibration.plans, key=lambda plan: plan.ms)
    wanted = [f"at most {max_ms} ms"] if max_ms is not None else []
    wanted += [f"a recall of at least {min_recall}"] if min_recall is not None else []
    return (
        f"no calibrated plan has {' and '.join(wanted)}: the fastest takes "
        f"{fast.ms_for(pages) + more:.2f} ms (recall {fast.recall:.3f}), the best reaches "
        f"{best.recall:.3f} ({best.ms_for(pages) + more:.2f} ms); ask for less, or calibrate again"
    )
