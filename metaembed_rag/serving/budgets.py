"""The points of the budget slider: what each costs, and what a calibration expects of it."""

from __future__ import annotations

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.search.calibration import Calibration
from metaembed_rag.search.plan import Plan
from metaembed_rag.serving.answers import BudgetAnswer

_BETWEEN = ((1, 1), (1, 2), (2, 4), (3, 6), (4, 8), (6, 12), (8, 16), (10, 24), (12, 32), (14, 48))
"""The paper's five budgets and some between them, all but the full one."""


def ladder(query_vectors: int, page_vectors: int) -> list[RetrievalBudget]:
    """Budgets from one vector a side to all that there are, both sides growing.

    Args:
        query_vectors: That the model makes.
        page_vectors: That are stored.
    """
    full = (query_vectors, page_vectors)
    fitting = [(r_q, r_c) for r_q, r_c in _BETWEEN if r_q <= query_vectors and r_c <= page_vectors]
    return [RetrievalBudget(*pair) for pair in sorted({*fitting, full})]


def points(
    budgets: list[RetrievalBudget],
    bytes_per_vector: float,
    calibration: Calibration | None,
    pages: int,
) -> list[BudgetAnswer]:
    """What is said of each budget.

    The recall of one that was not measured lies between those of its measured neighbours, and its
    milliseconds are not known.

    Args:
        budgets: From cheap to full.
        bytes_per_vector: Of a page.
        calibration: Of the index; None where it was not calibrated.
        pages: Of the index now.
    """
    names = {pair: name for name, pair in RetrievalBudget.PRESETS.items()}
    measured = {} if calibration is None else _best(calibration)
    fetch = 0.0 if calibration is None else calibration.fetch_ms
    found = []
    for budget in budgets:
        plan = measured.get(budget)
        below = [p.recall for b, p in measured.items() if _within(b, budget)]
        above = [p.recall for b, p in measured.items() if _within(budget, b)]
        recall = plan.recall if plan else max(below, default=None)
        at_most = None if plan or recall is None else max(recall, min(above, default=1.0))
        found.append(
            BudgetAnswer(
                budget=(budget.r_q, budget.r_c),
                name=names.get((budget.r_q, budget.r_c)),
                bytes_per_page=round(bytes_per_vector * budget.r_c),
                recall=recall,
                recall_at_most=at_most,
                ms=None if plan is None else round(plan.ms_for(pages) + fetch, 3),
            )
        )
    return found


def _best(calibration: Calibration) -> dict[RetrievalBudget, Plan]:
    """Of each budget the plan that finds most, and of these the fastest."""
    found: dict[RetrievalBudget, Plan] = {}
    for plan in calibration.plans:
        other = found.get(plan.budget)
        if other is None or (plan.recall, -plan.ms) > (other.recall, -other.ms):
            found[plan.budget] = plan
    return found


def _within(one: RetrievalBudget, other: RetrievalBudget) -> bool:
    return one.r_q <= other.r_q and one.r_c <= other.r_c
