"""What is asked of a search: one list of options, and what they may say together."""

from __future__ import annotations

import typing

import pytest

from metaembed_rag import PageIndex
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import BudgetError, StoreError
from metaembed_rag.options import (
    SCORING_KEYWORDS,
    SEARCH_KEYWORDS,
    ScoringKeywords,
    SearchKeywords,
    SearchOptions,
    all_of,
)

MOST = RetrievalBudget(16, 64)


def test_the_keywords_are_the_fields():
    assert set(typing.get_type_hints(SearchKeywords)) == set(SEARCH_KEYWORDS)
    assert set(typing.get_type_hints(ScoringKeywords)) == set(SCORING_KEYWORDS)
    options = SearchOptions(budget="4,8", where={"a": 1})
    assert SearchOptions(**options.keywords) == options


def test_both_frameworks_have_every_option_by_constructor(index):
    from metaembed_rag import langchain, llama_index

    for name in SCORING_KEYWORDS:
        assert name in langchain.MetaEmbedRetriever.model_fields
        assert name in llama_index.MetaEmbedVectorStore.model_fields
        assert hasattr(llama_index.MetaEmbedRetriever(index), name)
        assert hasattr(llama_index.MetaEmbedQueryBundle("q"), name)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, StoreError, "k must be a whole number of at least 1, not 0"),
        ({"k": 5, "candidates": 4}, StoreError, r"candidates \(4\) must be at least k \(5\)"),
        ({"hybrid": 2.0}, StoreError, "hybrid"),
        ({"budget": "much"}, BudgetError, "is not a retrieval budget"),
        ({"budget": "fast", "max_ms": 4}, BudgetError, "or leave these two out"),
        ({"max_ms": "3"}, BudgetError, "max_ms must be over 0, not '3'"),
        ({"min_recall": 0}, BudgetError, "min_recall must be over 0, not 0"),
        ({"r_c": 8, "min_recall": 0.9}, BudgetError, "leave out r_q and r_c"),
        ({"budget": "auto", "candidates": 9}, BudgetError, "leave out candidates"),
        ({"max_ms": 4, "exhaustive": True}, BudgetError, "leave out candidates"),
    ],
)
def test_contradictions_are_refused_when_they_are_made(options, error, message):
    with pytest.raises(error, match=message):
        SearchOptions(**options)


@pytest.mark.parametrize("method", ["search", "search_batch", "search_vectors", "recall"])
def test_a_keyword_that_nothing_reads_is_refused_by_name(method):
    with pytest.raises(TypeError, match="no keyword budgte; there are budget, r_q"):
        getattr(PageIndex.open(":memory:", _encoder()), method)(["q"], budgte="fast")


def _encoder():
    from metaembed_rag.testing import FakeEncoder

    return FakeEncoder()


@pytest.mark.parametrize(
    ("above", "below", "expected"),
    [
        ({"k": 3}, {"k": 5, "candidates": 9}, {"k": 3, "candidates": 9}),
        ({"exhaustive": False}, {"exhaustive": True}, {"exhaustive": False}),
        ({"budget": "4,8"}, {"r_q": 2, "r_c": 4}, {"budget": "4,8"}),
        ({"r_c": 8}, {"budget": "2,4"}, {"budget": "2,4", "r_c": 8}),
        ({"r_q": 1, "r_c": 8}, {"max_ms": 4}, {"r_q": 1, "r_c": 8}),
        ({"max_ms": 4}, {"budget": "2,4", "min_recall": None}, {"max_ms": 4}),
        ({"budget": "auto"}, {"max_ms": 4}, {"budget": "auto", "max_ms": 4}),
        ({"where": {"a": 1}}, {}, {"where": {"a": 1}}),
        (
            {"where": {"a": 1}},
            {"where": {"b": 2, "c": 3}},
            {"where": {"$and": [{"$and": [{"b": 2}, {"c": 3}]}, {"a": 1}]}},
        ),
    ],
)
def test_what_is_said_above_goes_over_what_is_below(above, below, expected):
    assert SearchOptions(**above).over(SearchOptions(**below)) == SearchOptions(**expected)


def test_one_side_cannot_go_over_a_limit():
    with pytest.raises(BudgetError, match="leave out r_q and r_c"):
        SearchOptions(r_q=1).over(SearchOptions(max_ms=3))


@pytest.mark.parametrize(
    ("options", "variable", "expected"),
    [
        ({}, None, (16, 64)),
        ({}, "2,4", (2, 4)),
        ({}, "auto", (16, 64)),
        ({"budget": "fast"}, "2,4", (1, 1)),
        ({"budget": (4, 8), "r_q": 2}, None, (2, 8)),
        ({"r_c": 8}, "2,4", (2, 8)),
        ({"r_q": 1, "r_c": 8}, "nonsense", (1, 8)),
    ],
)
def test_the_budget_comes_from_options_environment_or_all_there_is(
    monkeypatch, options, variable, expected
):
    if variable is not None:
        monkeypatch.setenv("METAEMBED_BUDGET", variable)
    assert SearchOptions(**options).resolved(MOST) == RetrievalBudget(*expected)


def test_one_side_of_auto_is_no_budget(index):
    with pytest.raises(BudgetError, match="with no r_q or r_c beside it"):
        SearchOptions(budget="auto", r_q=2).resolved(MOST)
    with pytest.raises(BudgetError, match="with no r_q or r_c beside it"):
        index.search("apples", budget="auto", r_q=2)


def test_where_nothing_can_choose_auto_stands_for_no_budget(monkeypatch):
    assert SearchOptions(budget="auto").unchosen(MOST) == MOST
    monkeypatch.setenv("METAEMBED_BUDGET", "2,4")
    assert SearchOptions(max_ms=3).unchosen(MOST) == RetrievalBudget(2, 4)
    assert SearchOptions(budget="fast").unchosen(MOST) == RetrievalBudget(1, 1)


def test_auto_in_the_environment_gives_way_to_what_is_said(monkeypatch):
    monkeypatch.setenv("METAEMBED_BUDGET", "auto")
    assert SearchOptions().is_auto
    for said in ({"candidates": 9}, {"exhaustive": True}, {"r_q": 1}, {"budget": "fast"}):
        assert not SearchOptions(**said).is_auto


def test_a_search_takes_one_side_of_the_budget(index, shapes):
    index.search("apples", 1, r_q=2)
    index.search("apples", 1, budget="4,8", r_c=2)
    assert shapes == [(2, 64), (4, 2)]


def test_filters_are_joined():
    assert all_of(None, None) is None
    assert all_of({}, {"a": 1}) == {"a": 1}
    assert all_of({"a": 1}, {"b": 2}) == {"$and": [{"a": 1}, {"b": 2}]}


def test_the_exact_twin_scores_every_page_at_the_budget_and_with_the_words_that_were_asked_for():
    asked = SearchOptions(k=3, budget="4,8", where={"a": 1}, candidates=9, hybrid=True)
    assert asked.exact(MOST) == SearchOptions(
        k=3, budget=RetrievalBudget(4, 8), where={"a": 1}, exhaustive=True, hybrid=True
    )
    assert SearchOptions(budget="auto").exact(MOST) == SearchOptions(budget=MOST, exhaustive=True)
