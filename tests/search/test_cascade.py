"""The cascade finds what an exhaustive search finds, or says how much of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.search import cascade
from metaembed_rag.search.plan import Plan, Stage
from metaembed_rag.vectors.formats import Quantized, vector_format
from metaembed_rag.vectors.integers import maxsim_levels
from metaembed_rag.vectors.maxsim import maxsim_quantized
from tests.support.levels import CASCADE, EDGES, FULL, PAGES


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


def test_the_exact_search_mends_what_too_small_shares_lose(made):
    pages, levels, queries = made
    careless = Plan(FULL, (Stage(1, 1e-9),))
    lost = False
    for query in queries:
        rows, _ = best_rows(pages, query, 5)
        found = cascade.search_exact(query, levels, FULL, 5)[0]
        assert found.rows.tolist() == rows
        assert found.read[0] == PAGES > found.read[1] >= 5
        lost |= cascade.search(query, levels, careless, 5)[0].rows.tolist() != rows
    assert lost


def test_an_exact_search_respects_the_filter(made):
    pages, levels, queries = made
    allowed = np.arange(50, 200)
    found = cascade.search_exact(queries, levels, FULL, 5, allowed=allowed)
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
