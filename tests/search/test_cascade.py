"""The cascade finds what an exhaustive search finds, or says how much of it."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import BudgetError
from metaembed_rag.search import cascade
from metaembed_rag.search.cascade import Calibration, Plan, Stage
from metaembed_rag.vectors.formats import Quantized, quantize, vector_format
from metaembed_rag.vectors.integers import maxsim_levels, quantize_queries
from metaembed_rag.vectors.maxsim import maxsim_quantized

PAGES, EDGES = 300, (0, 1, 4, 8)
FULL = RetrievalBudget(4, 8)
CASCADE = Plan(FULL, (Stage(1, 0.5), Stage(4, 0.3)))


def unit(values):
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def made():
    """Pages whose vectors scatter about one topic each, and queries about such topics."""
    random = np.random.default_rng(0)
    topics = unit(random.standard_normal((PAGES, 1, 32)))
    pages = quantize(unit(topics + 0.1 * random.standard_normal((PAGES, 8, 32))))
    queries = unit(topics[:40] + 0.1 * random.standard_normal((40, 4, 32)))
    levels = [
        Quantized(pages.values[:, a:b], pages.scales[:, a:b]) for a, b in itertools.pairwise(EDGES)
    ]
    return pages, levels, queries


def best_rows(pages, query, k, allowed=None):
    scores = maxsim_quantized(query, pages, FULL)
    rows = np.arange(len(pages)) if allowed is None else np.asarray(allowed)
    return sorted(rows, key=lambda row: (-scores[row], row))[:k], scores


def test_an_exhaustive_search_ranks_by_the_scores_of_the_stored_vectors(made):
    pages, levels, queries = made
    for query, found in zip(queries, cascade.exhaustive(queries, levels, FULL, 5), strict=True):
        rows, scores = best_rows(pages, query, 5)
        assert found.rows.tolist() == rows
        assert np.allclose(found.scores, scores[rows], atol=1e-6)
        assert found.read == (PAGES,)


def test_stages_read_their_shares(made):
    _, levels, queries = made
    found = cascade.search(queries[0], levels, CASCADE, 5)[0]
    assert found.read == (300, 150, 90)


@pytest.mark.parametrize("sizes", [(1, 4), (4, 6), (2, 3, 5), (4, 4, 2, 6)])
def test_a_stage_ranks_by_all_its_vectors_though_it_reads_only_the_new_ones(made, sizes):
    _, levels, queries = made
    plan = Plan(FULL, tuple(Stage(r_c, 0.5 / (n + 1), 1) for n, r_c in enumerate(sizes)))
    for query in queries[:10]:
        rows = np.arange(PAGES)
        for r_c, stage in zip(sizes, plan.stages, strict=True):  # each from the beginning
            scores = maxsim_levels(query, levels, RetrievalBudget(4, r_c), rows=rows)[0]
            rows = np.sort(rows[np.argsort(-scores, kind="stable")[: stage.kept(PAGES, 1)]])
        found = cascade.search(query, levels, plan, 1)[0]
        exact = cascade.exhaustive(query, levels, FULL, 1, allowed=rows)[0]
        assert found.read[-1] == len(rows)
        assert (found.rows.tolist(), found.scores.tolist()) == (
            exact.rows.tolist(),
            exact.scores.tolist(),
        )


def test_what_a_plan_reads_counts_each_vector_once_from_the_second_stage_on():
    plan = Plan(RetrievalBudget(16, 64), (Stage(1, 0.1), Stage(4, 0.03), Stage(16, 0.01)))
    assert plan.vectors_read() == pytest.approx(1 + 0.1 * 4 + 0.03 * (16 - 4) + 0.01 * (64 - 16))


def test_shares_of_one_lose_nothing(made):
    _, levels, queries = made
    plan = Plan(FULL, (Stage(1, 1.0), Stage(4, 1.0)))
    exact = cascade.exhaustive(queries, levels, FULL, 5)
    for one, other in zip(exact, cascade.search(queries, levels, plan, 5), strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tolist() == other.scores.tolist()


def test_a_batch_finds_what_each_query_finds_alone(made):
    _, levels, queries = made
    for query, found in zip(queries, cascade.search(queries, levels, CASCADE, 5), strict=True):
        assert found.rows.tolist() == cascade.search(query, levels, CASCADE, 5)[0].rows.tolist()


@pytest.mark.parametrize("number", [0, 1, 3, 30])
def test_a_filter_leaves_the_top_complete(made, number):
    pages, levels, queries = made
    allowed = np.random.default_rng(number).permutation(PAGES)[:number]
    mask = np.isin(np.arange(PAGES), allowed)
    for given in (allowed, mask):
        found = cascade.search(queries[0], levels, CASCADE, 5, allowed=given)[0]
        assert len(found.rows) == min(5, number)
        assert set(found.rows) <= set(allowed)
        # At least 4 * 5 pages survive each stage, so up to 20 allowed pages are all ranked.
        if number <= 20:
            assert found.rows.tolist() == best_rows(pages, queries[0], 5, sorted(allowed))[0]


def test_equal_scores_are_ordered_by_row(made):
    _, levels, queries = made
    same = [Quantized(level.values[[7] * 50], level.scales[[7] * 50]) for level in levels]
    assert cascade.search(queries[0], same, CASCADE, 3)[0].rows.tolist() == [0, 1, 2]


@pytest.mark.parametrize("shadowed", [False, True])
def test_the_exact_search_mends_what_too_small_shares_lose(made, shadowed):
    pages, levels, queries = made
    careless = Plan(FULL, (Stage(1, 1e-9),))
    lost = False
    shadow = cascade.shadow_of(levels, vector_format("int4")) if shadowed else None
    for query in queries:
        rows, _ = best_rows(pages, query, 5)
        found = cascade.search_exact(query, levels, careless, 5, shadow=shadow)[0]
        assert found.rows.tolist() == rows
        lost |= cascade.search(query, levels, careless, 5)[0].rows.tolist() != rows
    assert lost


def test_a_shadow_excludes_pages_before_they_are_scored(made):
    _, levels, queries = made
    # Pages without any likeness to the query lie far under its best: 0.2 against 3.9 of 4.
    shadow = cascade.shadow_of(levels, vector_format("int4"))
    found = cascade.search_exact(queries[0], levels, CASCADE, 1, shadow=shadow)[0]
    assert found.read[-3] == PAGES > found.read[-2] >= found.read[-1] >= 1


def test_an_exact_search_respects_the_filter(made):
    pages, levels, queries = made
    allowed = np.arange(50, 200)
    shadow = cascade.shadow_of(levels, vector_format("int4"))
    found = cascade.search_exact(
        queries,
        levels,
        CASCADE,
        5,
        shadow=shadow,
        allowed=allowed,
    )
    for query, one in zip(queries, found, strict=True):
        assert one.rows.tolist() == best_rows(pages, query, 5, allowed)[0]


def test_fp16_and_int4_levels_are_searched_alike(made):
    pages, _, queries = made
    vectors = pages.dequantize()
    for name in ("fp16", "int4", "bits"):
        one = vector_format(name).encode(vectors)
        levels = [vector_format(name).encode(vectors[:, a:b]) for a, b in itertools.pairwise(EDGES)]
        found = cascade.exhaustive(queries[0], levels, FULL, 5)[0]
        assert found.rows[0] == 0
        decoded = np.concatenate([level.decode() for level in levels], axis=1)
        expected = sum(max(c @ q for c in decoded[found.rows[0]]) for q in queries[0])
        assert found.scores[0] == pytest.approx(expected, abs=1e-5)
        assert len(one) == PAGES


@pytest.fixture(scope="module")
def calibration(made):
    _, levels, queries = made
    return cascade.calibrate(queries, levels, 5, recalls=(0.8, 1.0))


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
    assert cascade._losses(*wanted) == losses


def test_the_costliest_page_is_given_up_first():
    ranks = np.array([[1, 2, 90], [1, 30, 3]])  # places of three true pages at r_c 1 and 4
    # Without the third the first stage keeps 30 (the second stage's 30 rules) of 100.
    assert cascade._cheapest_shares(ranks, [1, 4], 0, FULL, 100) == (Stage(1, 0.9), Stage(4, 0.3))
    assert cascade._cheapest_shares(ranks, [1, 4], 1, FULL, 100) == (Stage(1, 0.02), Stage(4, 0.02))


def test_calibrating_scores_every_size_in_one_reading(made):
    _, levels, queries = made
    ready = quantize_queries(queries[:3])
    for rows in (None, np.arange(0, PAGES, 3)):
        over = cascade._Pages(levels, rows, 1)
        scores = over.scores(ready, (1, 4, 6))
        for found, r_c in zip(scores, (1, 4, 6), strict=True):
            budget = RetrievalBudget(4, r_c)
            assert np.array_equal(found, maxsim_levels(ready, levels, budget, rows=rows))


def test_a_page_counts_as_found_where_every_stage_keeps_its_place():
    places = np.array([[1, 9, 40, 3], [1, 2, 2, 11]])  # of four true pages at r_c 1 and 8
    ranks = cascade._Ranks(FULL, (1, 8), places)
    assert ranks.recall(Plan(FULL), 10, 100) == 0.75  # the last one is eleventh in the end
    assert ranks.recall(Plan(FULL, (Stage(1, 0.1, 1),)), 10, 100) == 0.5  # ten of 100 go on


def test_only_plans_that_find_more_by_reading_more_are_measured():
    places = np.array([[1, 2, 50, 100], [1, 2, 3, 4]])
    ranks = cascade._Ranks(FULL, (1, 8), places)
    plans = cascade._worthwhile([ranks], FULL, [0.5, 1.0], 5, 1000)
    assert plans[:2] == [Plan(FULL), cascade.safe_plan(FULL)]
    reading = [cascade._reading(plan, 5, 1000) for plan in plans[2:]]
    found = [ranks.recall(plan, 5, 1000) for plan in plans[2:]]
    assert reading == sorted(reading)
    assert found == sorted(set(found))
    assert found[-1] == 1


def plan(recall, ms, r_c=8):
    return Plan(RetrievalBudget(4, r_c), (), recall, ms, 1000)


def test_auto_takes_the_fastest_good_one_or_the_best_fast_one():
    slow, middle, fast = plan(1.0, 10), plan(0.99, 2), plan(0.8, 1, r_c=1)
    plans = Calibration(10, 100, 1000, (slow, middle, fast))
    assert cascade.choose(plans, min_recall=0.9) == middle
    assert cascade.choose(plans, max_ms=1.5) == fast
    assert cascade.choose(plans, max_ms=15) == slow
    assert cascade.choose(plans, max_ms=15, pages=5000) == middle  # five times as many pages
    assert cascade.choose(plans) == slow
    with pytest.raises(BudgetError, match=r"the fastest takes 1\.00 ms .* the best reaches 1\.000"):
        cascade.choose(plans, max_ms=1.5, min_recall=0.95)


def test_nonsense_is_refused(made):
    _, levels, queries = made
    for wrong in ((0, 0.5), (1, 0.0), (1, 1.5)):
        with pytest.raises(BudgetError, match="a stage needs"):
            Stage(*wrong)
    with pytest.raises(BudgetError, match="at least 2 queries"):
        cascade.calibrate(queries[:1], levels)
    with pytest.raises(BudgetError, match="over 0 and at most 1"):
        cascade.calibrate(queries, levels, recalls=(1.2,))
    assert math.isnan(Plan(FULL).recall)
    assert dataclasses.replace(CASCADE, stages=()).vectors_read() == 8
