"""Metrics on rankings that can be computed with a pencil."""

from math import log2

import numpy as np
import pytest

from metaembed_rag.evaluation import METRICS, bootstrap_interval, measure, top_pages


def measured(grades, ranking):
    """The metrics of a single query."""
    values = measure({"q": grades}, {"q": ranking})
    return {name: float(value[0]) for name, value in values.items()}


def test_the_only_relevant_page_in_third_place():
    found = measured({"c": 1}, ["a", "b", "c", "d"])
    assert found["ndcg@5"] == found["ndcg@10"] == pytest.approx(1 / log2(4)) == pytest.approx(0.5)
    assert found["mrr@10"] == pytest.approx(1 / 3)
    assert found["recall@10"] == 1
    assert found["precision@1"] == 0


def test_a_page_in_sixth_place_counts_at_ten_and_not_at_five():
    found = measured({"f": 1}, list("abcdef"))
    assert found["ndcg@5"] == 0
    assert found["ndcg@10"] == pytest.approx(1 / log2(7))
    assert found["mrr@10"] == pytest.approx(1 / 6)


def test_nothing_beyond_ten_places_counts():
    found = measured({"k": 1}, list("abcdefghijk"))
    assert found == dict.fromkeys(METRICS, 0)


def test_grades_are_linear_gains():
    # Ranked 1, 3; best is 3, 1. Exponential gains (2^grade - 1) would give 0.710.
    found = measured({"a": 1, "b": 3}, ["a", "b"])
    assert found["ndcg@5"] == pytest.approx((1 + 3 / log2(3)) / (3 + 1 / log2(3)))
    assert found["ndcg@5"] == pytest.approx(0.7967, abs=1e-4)
    assert found["precision@1"] == found["mrr@10"] == 1


def test_metrics_agree_with_their_definitions_on_random_graded_rankings():
    generator = np.random.default_rng(0)
    pages = [f"p{i}" for i in range(30)]
    for _ in range(20):
        grades = {page: int(generator.integers(0, 4)) for page in generator.permutation(pages)[:15]}
        grades["p0"] = 1
        ranking = [str(page) for page in generator.permutation(pages)]
        gains = [grades.get(page, 0) for page in ranking]
        best = sorted(grades.values(), reverse=True)
        relevant = [place for place, gain in enumerate(gains[:10], 1) if gain > 0]
        found = measured(grades, ranking)
        assert found["ndcg@5"] == pytest.approx(dcg(gains[:5]) / dcg(best[:5]))
        assert found["ndcg@10"] == pytest.approx(dcg(gains[:10]) / dcg(best[:10]))
        assert found["recall@10"] == pytest.approx(len(relevant) / sum(g > 0 for g in best))
        assert found["mrr@10"] == pytest.approx(1 / min(relevant) if relevant else 0)
        assert found["precision@1"] == (gains[0] > 0)


def dcg(gains):
    return sum(gain / log2(place + 1) for place, gain in enumerate(gains, 1))


def test_recall_is_the_share_of_all_relevant_pages():
    grades = {"a": 1, "b": 2, "z": 1, "y": 0}
    assert measured(grades, ["a", "x", "b", "y"])["recall@10"] == pytest.approx(2 / 3)


def test_a_page_of_grade_zero_is_not_relevant():
    assert measured({"a": 0, "b": 1}, ["a"]) == dict.fromkeys(METRICS, 0)


def test_a_query_without_a_ranking_counts_zero_and_the_order_is_that_of_the_judgements():
    qrels = {"second": {"a": 1}, "first": {"a": 1}, "none": {"a": 1}}
    values = measure(qrels, {"first": ["b", "a"], "second": ["a"], "none": [], "unjudged": ["a"]})
    assert values["mrr@10"].tolist() == [1, 0.5, 0]


def test_no_ranking_at_all_counts_zero():
    assert measure({"q": {"a": 1}}, {})["ndcg@5"].tolist() == [0]


def test_every_metric_sees_the_same_order_whatever_the_ids():
    # With equal scores trec_eval would put "b" first and the MS MARCO code "a".
    for grades, place in (({"a": 1}, 2), ({"b": 1}, 1)):
        found = measured(grades, ["b", "a"])
        assert found["mrr@10"] == 1 / place
        assert found["ndcg@5"] == pytest.approx(1 / log2(1 + place))
        assert found["precision@1"] == (place == 1)


def test_top_pages_are_sorted_by_score_and_ties_by_id():
    scores = np.array([[0.5, 0.9, 0.5, 0.5], [1, 2, 3, 4]], dtype=np.float32)
    ids = ["c", "d", "a", "b"]
    assert top_pages(scores, ids, depth=4) == [["d", "a", "b", "c"], ["b", "a", "d", "c"]]
    assert top_pages(scores, ids, depth=2) == [["d", "a"], ["b", "a"]]
    assert top_pages(scores, ids, depth=9) == top_pages(scores, ids, depth=4)


def test_scores_that_differ_in_the_last_bit_are_no_tie():
    one = np.float32(1)
    scores = np.array([[one, np.nextafter(one, np.float32(2))]])
    assert top_pages(scores, ["a", "b"], depth=1) == [["b"]]


def test_top_pages_agree_with_a_plain_sort_on_many_ties():
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 4, (20, 50)).astype(np.float32)
    ids = [f"page{i}" for i in generator.permutation(50)]
    for row, found in zip(scores, top_pages(scores, ids, depth=7), strict=True):
        plain = sorted(zip(-row, ids, strict=True))
        assert found == [id for _, id in plain[:7]]


def test_the_interval_of_equal_values_is_that_value():
    assert bootstrap_interval(np.full(9, 0.25)) == (0.25, 0.25)


def test_the_interval_is_the_textbook_one_for_many_queries_and_repeats_with_its_seed():
    values = np.arange(400) % 2  # mean 0.5, standard error 0.5 / sqrt(400) = 0.025
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.005)
    assert high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.005)
    assert (low, high) == bootstrap_interval(values)
