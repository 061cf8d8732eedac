"""Calibrating: the shares of pages that keep a wanted recall, and what such plans take.

Queries that nobody had a part in choosing measure each plan's recall against the exhaustive twin,
and its time, on the pages of one index and on one machine.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import BudgetError
from metaembed_rag.hits import Hits
from metaembed_rag.search.calibration import Calibration, about_vectors
from metaembed_rag.search.cascade import QUERIES_AT_ONCE, allowed_rows, descend, exhaustive, search
from metaembed_rag.search.plan import Plan, Stage, fresh_vectors, safe_plan
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.levels import CachedVectors
from metaembed_rag.vectors.integers import (
    QuantizedQueries,
    Vectors,
    first_vectors,
    maxsim_levels,
    no_similarities,
    quantize_queries,
)

_SCORES_AT_ONCE, _PAGES_AT_ONCE = 1_600_000, 4096
"""Scores a size, and pages whose best similarities are kept between sizes. With 16 queries 32 MB
and 4 MB."""

_FEWER = 0.9
"""A plan that reads more is measured where it is expected to lose a tenth fewer pages."""

_EXACT_TIMED = 5
"""Queries that time the exhaustive plan, whose recall is known."""

_WORDS = 8
"""Words of a query that is made of a page's text."""
_SAMPLE = 200
"""Queries that are made where none are given."""
_LOOKED_AT = 2 * _SAMPLE
"""Pages that are looked at for them: some have no text."""
_FETCHES = 20


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
    over = _Pages(levels, allowed_rows(allowed), threads)
    fitting, measuring = queries[::2], queries[1::2]
    ranks = _ranks(fitting, over, full, wanted, k)
    plans = _worthwhile(ranks, full, recalls, k, len(over))
    measured = _measured(plans, measuring, over, k, full)
    return Calibration(k, len(queries), len(over), tuple(measured))


def calibrated(
    queries: NDArray[np.float32], vectors: CachedVectors, store: ChromaStore, k: int, recall: float
) -> Calibration:
    """Measure plans on the pages of an index.

    Args:
        queries: float32, shape (queries, R_q, D).
        vectors: Those of the pages.
        store: Read as a search reads it, for the time that this takes.
        k: Size of the top that has to be found.
        recall: The wanted share of it; plans for less are measured too.

    Raises:
        BudgetError: There is no page, there are fewer than 2 queries, or the recall makes no sense.
    """
    if not vectors.pages:
        raise BudgetError("an empty index cannot be calibrated; index some pages first")
    levels = vectors.levels(vectors.header.vectors)
    # Shares that reached a recall on some queries can miss it on others: stricter ones stand by.
    # Looser ones too, since shares are chosen with care: for 0.98 they kept 0.985 of 100,000 texts.
    recalls = sorted({0.9, 0.95, 2 * recall - 1, 1.5 * recall - 0.5, recall, (1 + recall) / 2, 1.0})
    recalls = [wanted for wanted in recalls if wanted >= min(0.9, recall)]
    allowed = None if vectors.pages == len(vectors) else vectors.alive
    found = calibrate(queries, levels, k, recalls, allowed=allowed)
    ids = vectors.ids[vectors.alive]
    about = about_vectors(store.about)
    fetch_ms = _fetch_ms(store, ids.tolist(), k)
    return replace(found, about=about, fetch_ms=fetch_ms, recall=recall)


def share_found(found: Sequence[Hits], wanted: Sequence[Hits]) -> float:
    """The share of the pages of ``wanted`` that ``found`` has, query by query; 1.0 of none."""
    pairs = [
        ({hit.page.id for hit in some}, {hit.page.id for hit in every})
        for some, every in zip(found, wanted, strict=True)
    ]
    total = sum(len(every) for _, every in pairs)
    return sum(len(some & every) for some, every in pairs) / total if total else 1.0


def sample_queries(store: ChromaStore, count: int = _SAMPLE) -> list[str]:
    """Pieces of the texts of random pages, to stand for queries that nobody has collected yet.

    Raises:
        BudgetError: Fewer than two pages have a text.
    """
    chooser = random.Random(0)
    ids = store.ids()
    looked_at = chooser.sample(ids, min(_LOOKED_AT, len(ids)))
    records = store.get(looked_at, vectors=False)
    texts = [records[id].page.text.split() for id in looked_at if id in records]
    queries = [_piece(words, chooser) for words in texts if words][:count]
    if len(queries) < 2:
        raise BudgetError(
            "queries cannot be made of pages without text; give some of your own to calibrate with"
        )
    return queries


def _piece(words: Sequence[str], chooser: random.Random) -> str:
    start = chooser.randint(0, max(0, len(words) - _WORDS))
    return " ".join(words[start : start + _WORDS])


def _fetch_ms(store: ChromaStore, ids: Sequence[str], k: int) -> float:
    """Median milliseconds to read the records of ``k`` pages."""
    chooser, spent = random.Random(0), []
    for _ in range(_FETCHES):
        chosen = chooser.sample(ids, min(k, len(ids)))
        start = time.perf_counter()
        store.get(chosen, vectors=False)
        spent.append(time.perf_counter() - start)
    return round(1000 * statistics.median(spent), 4)


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

    @property
    def options(self) -> dict[str, Any]:
        """Of a search: which pages are allowed, and how many threads."""
        return {"allowed": self.rows, "threads": self.threads}

    def batches(self, queries: NDArray[np.float32]) -> Iterator[QuantizedQueries]:
        """So many queries at a time that their scores at some sizes fit into memory."""
        ready = quantize_queries(queries)
        step = min(QUERIES_AT_ONCE, max(1, _SCORES_AT_ONCE // max(1, len(self))))
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
        found = descend(query, self.levels, Plan(budget), k, self.rows, scores, False, self.threads)
        return found.rows if self.rows is None else np.searchsorted(self.rows, found.rows)


@dataclass(frozen=True)
class _Ranks:
    """Where the full budget's true pages come at a budget, and with fewer page vectors.

    Attributes:
        budget: The budget at which pages are ranked.
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
    ranks: Sequence[_Ranks], full: RetrievalBudget, recalls: Sequence[float], k: int, pages: int
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
    sizes = fresh_vectors(plan.sizes)
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
    ranks: NDArray[np.int64], sizes: Sequence[int], losses: int, budget: RetrievalBudget, pages: int
) -> tuple[Stage, ...]:
    """Shares that lose at most ``losses`` true pages and read few vectors.

    Greedy: whichever stage gains most by giving up its worst page gives it up.
    """
    if not len(sizes) or not ranks.size:
        return ()
    costs = np.array(fresh_vectors([*sizes, budget.r_c])[1:])  # vectors read of a page that is kept
    alive = ranks
    for _ in range(min(losses, ranks.shape[1] - 1)):
        without = [np.delete(alive, column, axis=1) for column in alive.argmax(axis=1)]
        alive = min(without, key=lambda left: float(costs @ left.max(axis=1)))
    keep = np.minimum.accumulate(alive.max(axis=1))
    return tuple(Stage(size, float(n) / pages) for size, n in zip(sizes, keep, strict=True))


def _measured(
    plans: Sequence[Plan], queries: NDArray[np.float32], over: _Pages, k: int, full: RetrievalBudget
) -> list[Plan]:
    """The plans with their recall and time on these queries, asked one by one.

    Each query is asked by every plan in turn, so that other work on the machine meets all alike.
    The exhaustive plan's recall is known; a few queries time it.
    """
    truth = [
        set(one.rows.tolist()) for one in exhaustive(queries, over.levels, full, k, **over.options)
    ]
    times: dict[Plan, list[float]] = {plan: [] for plan in plans}
    hits = dict.fromkeys(plans, 0)
    for number, (query, wanted) in enumerate(zip(queries, truth, strict=True)):
        for plan in plans:
            if plan != Plan(full) or number < _EXACT_TIMED:
                start = time.perf_counter()
                found = search(query, over.levels, plan, k, **over.options)[0]
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
