"""How one query will be searched: which pages are scored how finely, and whether words count."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import BudgetError
from metaembed_rag.hits import SearchPlan
from metaembed_rag.options import Fusion, SearchOptions, is_optional

CANDIDATES = 200
"""Pages that a hybrid search takes of each kind, and that Chroma's own search hands over where
there is no cache; at least 4 k."""

DEFAULT_K = 5

_SPARE = 30
"""Every stage hands on at least so many pages more than k."""


@dataclass(frozen=True)
class Stage:
    """Score with the first ``r_c`` vectors of a page, and keep the best pages.

    Calibrations are kept as JSON with the names of these fields.

    Attributes:
        r_c: Page vectors.
        share: The share of the pages that pass the filter to be kept; may be 0 where ``least`` is
            given.
        least: Keep at least so many; k and 30 more by default.

    Raises:
        BudgetError: Numbers that make no sense.
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
    """The stages of a cascade, and what they were measured to give.

    Calibrations are kept as JSON with the names of these fields.

    Attributes:
        budget: Of the last stage, which ranks.
        stages: The stages before it, from coarse to fine; none for an exhaustive search.
        recall: Share of the full budget's exact top k that it found when it was measured, on
            queries that had no part in choosing the shares; NaN where nobody measured.
        ms: Median milliseconds of a query then, over ``pages`` pages; NaN where nobody measured.
        pages: Pages then.
    """

    budget: RetrievalBudget
    stages: tuple[Stage, ...] = ()
    recall: float = math.nan
    ms: float = math.nan
    pages: int = 0

    @property
    def sizes(self) -> list[int]:
        """Page vectors that each stage scores with, the last one's included."""
        return [*(stage.r_c for stage in self.stages), self.budget.r_c]

    def ms_for(self, pages: int | None) -> float:
        """Expected milliseconds for another number of pages: in proportion."""
        return self.ms if pages is None or not self.pages else self.ms * pages / self.pages

    def vectors_read(self) -> float:
        """Page vectors read a page of the collection, on average."""
        shares = [1.0, *(stage.share for stage in self.stages)]
        return sum(
            share * size for share, size in zip(shares, fresh_vectors(self.sizes), strict=True)
        )


def fresh_vectors(sizes: Sequence[int]) -> list[int]:
    """Of stages that score with so many vectors a page, how many each one reads of a page.

    From the second stage on the best similarities are handed on. The first one's are not: for all
    pages they would be 16 numbers each to write, and its few vectors are soon read again.
    """
    return [*sizes[:2], *(max(0, b - a) for a, b in itertools.pairwise(sizes[1:]))]


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
class QueryPlan:
    """How one query is searched, everything decided.

    Attributes:
        way: ``"cascade"``, ``"candidates"``, ``"exhaustive"`` or ``"auto"`` (a calibrated cascade),
            as :class:`metaembed_rag.hits.SearchPlan` reports it.
        plan: Stages and budget; without stages every page is scored, and the top k is exact.
        options: What was asked for, with the filter and how words count.
        candidates: Pages that Chroma hands over where there is no cache; None for all pages.
        note: What is doubtful about a calibrated plan.
    """

    way: str
    plan: Plan
    options: SearchOptions
    candidates: int | None = None
    note: str = ""

    @property
    def k(self) -> int:
        """Hits wanted."""
        return DEFAULT_K if self.options.k is None else self.options.k

    @property
    def fusion(self) -> Fusion | None:
        """How words count; None where they do not."""
        return Fusion.parse(self.options.hybrid)

    @property
    def words_optional(self) -> bool:
        """Whether words count only where they can."""
        return is_optional(self.options.hybrid)

    @property
    def budget(self) -> RetrievalBudget:
        """The budget that ranks."""
        return self.plan.budget

    @property
    def pool(self) -> int | None:
        """Pages of each kind, near or with the words, that a hybrid search takes; None for all."""
        if self.way == "exhaustive":
            return None
        return self.candidates or max(CANDIDATES, 4 * self.k)

    def report(
        self, stages: tuple[tuple[int, int], ...], source: str, words: str = ""
    ) -> SearchPlan:
        """What the hits say of it: what each stage scored, where vectors were read, what of words.

        See :class:`metaembed_rag.hits.SearchPlan`.
        """
        auto = self.way == "auto"
        recall, ms = (self.plan.recall, self.plan.ms) if auto else (None, None)
        return SearchPlan(self.way, stages, source, recall, ms, self.note, words)


def plan_query(
    options: SearchOptions,
    most: RetrievalBudget,
    calibrated: Callable[[SearchOptions], tuple[Plan, str]],
) -> QueryPlan:
    """Decide how a query is searched, from what was asked for.

    Args:
        options: What was asked for.
        most: The query vectors that the model makes, and the page vectors that are stored.
        calibrated: The plan that the index's calibration chooses for these options, and what is
            doubtful about it; called for the budget ``"auto"`` only.

    Raises:
        BudgetError: The budget asks for more vectors than there are, or ``"auto"`` for a
            calibration that there is not, or for more than it can give.
    """
    if options.is_auto:
        plan, note = calibrated(options)
        check_budget(plan.budget, most)
        return QueryPlan("auto", plan, options, note=note)
    budget = options.resolved(most)
    check_budget(budget, most)
    if options.exhaustive:
        return QueryPlan("exhaustive", Plan(budget), options)
    if options.candidates is not None:
        plan = candidates_plan(budget, options.candidates)
        return QueryPlan("candidates", plan, options, options.candidates)
    handed_over = max(CANDIDATES, 4 * (options.k or DEFAULT_K))
    return QueryPlan("cascade", safe_plan(budget), options, handed_over)


def check_budget(budget: RetrievalBudget, most: RetrievalBudget) -> None:
    """Refuse to ask for more vectors than there are.

    Raises:
        BudgetError: It names what there is.
    """
    budget.check(query_vectors=most.r_q, page_vectors=most.r_c)
