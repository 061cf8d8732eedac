"""One query at several budgets, side by side."""

from __future__ import annotations

import pytest

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.comparison import comparison_page
from metaembed_rag.errors import BudgetError, StoreError
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from tests.support.indexes import index_of

TEXTS = ["red apples grow", "blue whales swim", "green grass fields", "apples and whales"]


@pytest.fixture
def index(encoder):
    pages = [Page(source="book", number=n, text=text) for n, text in enumerate(TEXTS, start=1)]
    return index_of(pages, encoder)


def test_each_budget_finds_what_a_search_at_it_finds(index):
    found = index.compare("whales swim", ["1,1", (4, 8), "full"], k=2)
    assert [one.budget for one in found] == [
        RetrievalBudget(*b) for b in ((1, 1), (4, 8), (16, 64))
    ]
    for one in found:
        alone = index.search("whales swim", k=2, budget=one.budget)
        assert one.hits.to_dict()["hits"] == alone.to_dict()["hits"]
        assert one.hits.query == "whales swim"


def test_without_budgets_the_papers_five_are_compared(index):
    assert [one.budget for one in index.compare("whales")] == RetrievalBudget.paper()


def test_where_fewer_vectors_are_stored_the_budgets_end_with_all_of_them(encoder):
    index = PageIndex.open(":memory:", encoder, vectors=6)
    assert [str(one.budget) for one in index.compare("red")] == ["1,1", "2,4", "16,6"]


def test_ranks_go_deeper_than_the_hits_and_end_at_the_depth(index):
    found = index.compare("whales swim", ["16,64"], k=1, depth=3, hybrid=False)
    assert len(found["16,64"].hits) == 1
    assert sorted(found["16,64"].ranks.values()) == [1, 2, 3]
    assert found.ranks == {"book#2": {"16,64": 1}}


def test_agreement_is_the_share_of_the_exhaustive_best_at_all_vectors(index):
    found = index.compare("whales swim", k=2, hybrid=False)
    exact = index.search("whales swim", k=2, budget="full", exhaustive=True, hybrid=False)
    assert [hit.page.id for hit in found.exact] == [hit.page.id for hit in exact]
    wanted = {hit.page.id for hit in exact}
    for one in found:
        assert one.agreement == len(wanted & {hit.page.id for hit in one.hits}) / 2
    assert found["full"].agreement == 1.0


def test_bytes_read_are_those_of_the_vectors_that_were_compared(index):
    found = index.compare("whales", ["1,1", "4,8"], exhaustive=True, hybrid=False)
    a_vector = index.info()["bytes_per_page"] // 64
    assert [one.bytes_read for one in found] == [4 * a_vector, 4 * 8 * a_vector]


def test_a_filter_holds_for_every_budget_and_for_what_they_are_compared_with(index):
    found = index.compare("whales", k=4, where={"page": {"$lte": 2}})
    assert {page.number for page in found.pages} == {1, 2}


def test_an_empty_index_has_no_pages_and_agrees(encoder):
    found = index_of([], encoder).compare("whales", ["1,1"])
    assert (found.pages, found["1,1"].agreement) == ([], 1.0)
    assert "(1,1)" in str(found)


def test_a_compared_hit_explains_itself(index):
    hit = index.compare("whales swim", ["1,1"])["1,1"].hits[0]
    assert hit.explain().passages


def test_the_table_has_a_line_a_page_and_what_each_budget_costs(index):
    lines = str(index.compare("whales swim", ["1,1", "16,64"], k=2, hybrid=False)).splitlines()
    assert lines[0].startswith('"whales swim": ranks by budget')
    assert lines[2].split() == ["(1,1)", "(16,64)"]
    assert lines[3].split()[:3] == ["book,", "page", "2"]
    assert lines[-3].startswith("of the exhaustive top 2")
    assert lines[-3].endswith("100%")
    assert lines[-2].startswith("milliseconds")
    assert lines[-1].startswith("bytes of vectors read")


def test_a_rank_below_k_is_in_brackets_and_one_below_the_depth_a_dash(index):
    found = index.compare("whales swim", ["1,1", "16,64"], k=1, depth=4, hybrid=False)
    assert [found._rank(rank) for rank in (1, 2, None)] == ["1", "(2)", "–"]


def test_a_notebook_shows_a_column_a_budget_and_frames_what_the_exact_search_finds(index):
    html = index.compare("whales <b>", ["1,1", "16,64"], k=2)._repr_html_()
    assert html.count("<b>budget (") == 2
    assert html.count('class="exact"') >= 2
    assert "whales &lt;b&gt;" in html
    assert "<b>budget (1,1)</b>" in html


def test_the_document_names_the_query(index):
    page = comparison_page(index.compare("whales", ["1,1"]))
    assert page.startswith("<!doctype html>")
    assert "<title>whales</title>" in page


def test_json_holds_hits_ranks_and_cost_of_each_budget(index):
    found = index.compare("whales swim", ["1,1", "16,64"], k=2).to_dict()
    assert (found["query"], found["k"], found["depth"]) == ("whales swim", 2, 20)
    assert [one["budget"] for one in found["budgets"]] == [[1, 1], [16, 64]]
    assert all(len(one["hits"]) == 2 and one["bytes_read"] > 0 for one in found["budgets"])
    assert found["exact"][0] == "book#2"
    assert found["pages"][0]["ranks"]["16,64"] == 1


@pytest.mark.parametrize(
    ("budgets", "said"),
    [
        ([], "takes a list of budgets"),
        ("1,1", "takes a list of budgets"),
        (["many"], "not a retrieval budget"),
        (["auto"], "for the search of an index"),
        (["16,65"], "64 are stored"),
    ],
)
def test_budgets_that_are_none_are_refused(index, budgets, said):
    with pytest.raises(BudgetError, match=said):
        index.compare("whales", budgets)


def test_a_budget_that_was_not_compared_is_named_beside_those_that_were(index):
    with pytest.raises(BudgetError, match=r'\(2,4\) was not compared; there are "1,1", "16,64"'):
        index.compare("whales", ["1,1", "16,64"])["2,4"]


@pytest.mark.parametrize("wrong", [{"k": 0}, {"depth": 0}])
def test_no_hits_and_no_depth_are_refused(index, wrong):
    with pytest.raises(StoreError, match="at least 1"):
        index.compare("whales", **wrong)
