"""Calibrated plans keep the recall that was wanted, and are chosen by recall and time."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import BudgetError
from metaembed_rag.search import measuring
from metaembed_rag.search.calibration import Calibration, choose
from metaembed_rag.search.plan import Plan, Stage, safe_plan
from metaembed_rag.vectors.integers import maxsim_levels, quantize_queries
from tests.support.levels import CASCADE, FULL, PAGES


@pytest.fixture(scope="module")
def calibration(made):
    _, levels, queries = made
    return measuring.calibrate(queries, levels, 5, recalls=(0.8, 1.0))


def test_calibrated_plans_keep_the_recall_and_read_less(calibration):
    full = [plan for plan in calibration.plans if plan.budget == FULL]
    exhaustive, quick = full[0], full[1:]
    assert exhaustive.stages == ()
    assert exhaustive.recall == 1
    assert quick
    assert all(plan.vectors_read() < exhaustive.vectors_read() == 8 for plan in quick)
    assert max(plan.recall for plan in quick) > 0.9
    assert all(plan.ms > 0 and plan.pages == PAGES for plan in full)


def test_a_calibration_survives_json(calibration):
    assert Calibration.from_json(calibration.to_json()) == calibration
    for text in ("{}", "[]", "3", '{"plans": [{}]}'):
        with pytest.raises(ValueError, match="no calibration"):
            Calibration.from_json(text)


@pytest.mark.parametrize(
    ("wanted", "losses"),
    # 0.1 * 1000 = 100 expected, less two standard errors of sqrt(90) = 9.49 each.
    [((0.9, 1000), 81), ((1.0, 1000), 0), ((0.99, 100), 0)],
)
def test_the_shares_may_lose_fewer_than_the_recall_allows(wanted, losses):
    assert measuring._losses(*wanted) == losses


def test_the_costliest_page_is_given_up_first():
    ranks = np.array([[1, 2, 90], [1, 30, 3]])  # places of three true pages at r_c 1 and 4
    # Without the third the first stage keeps 30 (the second stage's 30 rules) of 100.
    assert measuring._cheapest_shares(ranks, [1, 4], 0, FULL, 100) == (Stage(1, 0.9), Stage(4, 0.3))
    assert measuring._cheapest_shares(ranks, [1, 4], 1, FULL, 100) == (
        Stage(1, 0.02),
        Stage(4, 0.02),
    )


def test_calibrating_scores_every_size_in_one_reading(made):
    _, levels, queries = made
    ready = quantize_queries(queries[:3])
    for rows in (None, np.arange(0, PAGES, 3)):
        over = measuring._Pages(levels, rows, 1)
        scores = over.scores(ready, (1, 4, 6))
        for found, r_c in zip(scores, (1, 4, 6), strict=True):
            budget = RetrievalBudget(4, r_c)
            assert np.array_equal(found, maxsim_levels(ready, levels, budget, rows=rows))


def test_a_page_counts_as_found_where_every_stage_keeps_its_place():
    places = np.array([[1, 9, 40, 3], [1, 2, 2, 11]])  # of four true pages at r_c 1 and 8
    ranks = measuring._Ranks(FULL, (1, 8), places)
    assert ranks.recall(Plan(FULL), 10, 100) == 0.75  # the last one is eleventh in the end
    assert ranks.recall(Plan(FULL, (Stage(1, 0.1, 1),)), 10, 100) == 0.5  # ten of 100 go on


def test_only_plans_that_find_more_by_reading_more_are_measured():
    places = np.array([[1, 2, 50, 100], [1, 2, 3, 4]])
    ranks = measuring._Ranks(FULL, (1, 8), places)
    plans = measuring._worthwhile([ranks], FULL, [0.5, 1.0], 5, 1000)
    assert plans[:2] == [Plan(FULL), safe_plan(FULL)]
    reading = [measuring._reading(plan, 5, 1000) for plan in plans[2:]]
    found = [ranks.recall(plan, 5, 1000) for plan in plans[2:]]
    assert reading == sorted(reading)
    assert found == sorted(set(found))
    assert found[-1] == 1


def plan(recall, ms, r_c=8):
    return Plan(RetrievalBudget(4, r_c), (), recall, ms, 1000)


def test_auto_takes_the_fastest_good_one_or_the_best_fast_one():
    slow, middle, fast = plan(1.0, 10), plan(0.99, 2), plan(0.8, 1, r_c=1)
    plans = Calibration(10, 100, 1000, (slow, middle, fast))
    assert choose(plans, min_recall=0.9) == middle
    assert choose(plans, max_ms=1.5) == fast
    assert choose(plans, max_ms=15) == slow
    assert choose(plans, max_ms=15, pages=5000) == middle  # five times as many pages
    assert choose(plans) == slow
    with pytest.raises(BudgetError, match=r"the fastest takes 1\.00 ms .* the best reaches 1\.000"):
        choose(plans, max_ms=1.5, min_recall=0.95)


def test_nonsense_is_refused(made):
    _, levels, queries = made
    for wrong in ((0, 0.5), (1, 0.0), (1, 1.5)):
        with pytest.raises(BudgetError, match="a stage needs"):
            Stage(*wrong)
    with pytest.raises(BudgetError, match="at least 2 queries"):
        measuring.calibrate(queries[:1], levels)
    with pytest.raises(BudgetError, match="over 0 and at most 1"):
        measuring.calibrate(queries, levels, recalls=(1.2,))
    assert math.isnan(Plan(FULL).recall)
    assert dataclasses.replace(CASCADE, stages=()).vectors_read() == 8
