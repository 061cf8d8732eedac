"""Calibrations of an index that nobody measured, for tests of what is chosen from them."""

from __future__ import annotations

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.index import PageIndex
from metaembed_rag.search.calibration import Calibration
from metaembed_rag.search.plan import Plan, Stage

FAST = Plan(RetrievalBudget(4, 8), (Stage(1, 0.1),), recall=0.91, ms=2.0, pages=120)
GOOD = Plan(RetrievalBudget(16, 64), (Stage(1, 0.3),), recall=0.993, ms=5.0, pages=120)
EXACT = Plan(RetrievalBudget(16, 64), (), recall=1.0, ms=30.0, pages=120)
"""For an index of 120 pages; reading the pages that are found takes 1 ms more."""


def calibrated(index: PageIndex, *plans: Plan, k: int = 10, count: int = 120) -> None:
    """Keep these plans as the calibration of an index of ``count`` pages, for a recall of 0.99."""
    about = index._calibration.about
    index._calibration.save(Calibration(k, 50, count, plans, about, fetch_ms=1.0, recall=0.99))
