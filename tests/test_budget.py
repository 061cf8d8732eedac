from __future__ import annotations

import pytest

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import BudgetError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("4,8", (4, 8)),
        (" 4 , 8 ", (4, 8)),
        ("(16, 64)", (16, 64)),
        ("2x4", (2, 4)),
        ("fast", (1, 1)),
        ("Balanced", (4, 8)),
        ("full", (16, 64)),
        ((3, 5), (3, 5)),
        ([3, 5], (3, 5)),
        (RetrievalBudget(7, 9), (7, 9)),
    ],
)
def test_every_spelling_of_a_budget_is_read(given, expected):
    budget = RetrievalBudget.parse(given)
    assert (budget.r_q, budget.r_c) == expected


@pytest.mark.parametrize(
    "nonsense", ["", "4", "4,", "a,b", "0,1", "1,0", "-1,4", "4,8,16", "1.5,2", None, 4, (1,), {}]
)
def test_nonsense_is_refused_with_a_sentence_that_says_how(nonsense):
    with pytest.raises(BudgetError, match='such as "4,8"'):
        RetrievalBudget.parse(nonsense)


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, None])
def test_a_side_is_a_whole_number_of_at_least_one(value):
    with pytest.raises(BudgetError, match="r_c must be a whole number"):
        RetrievalBudget(1, value)


def test_the_papers_five_budgets_are_nested():
    five = RetrievalBudget.paper()
    assert [str(budget) for budget in five] == ["1,1", "2,4", "4,8", "8,16", "16,64"]
    assert all(a.r_q <= b.r_q and a.r_c <= b.r_c for a, b in zip(five, five[1:], strict=False))


def test_the_full_budget_costs_what_the_paper_reports():
    # Paper: 100,000 candidates, D = 3584, bf16: 733.89 GFLOPs and 42.72 GiB.
    full = RetrievalBudget.parse("full")
    assert full.flops(100_000, 3584) / 1e9 == pytest.approx(733.89, abs=0.2)
    assert full.bytes(100_000, 3584) / 2**30 == pytest.approx(42.72, abs=0.01)


def test_int8_halves_the_bytes_of_bf16():
    budget = RetrievalBudget(4, 8)
    assert budget.bytes(10, 128, 1) * 2 == budget.bytes(10, 128, 2) == 8 * 128 * 10 * 2


def test_asking_for_more_than_there_is_names_the_largest_budget():
    with pytest.raises(BudgetError, match="at most 16,32"):
        RetrievalBudget(16, 64).check(query_vectors=16, page_vectors=32)
    with pytest.raises(BudgetError, match="makes 16"):
        RetrievalBudget(17, 1).check(query_vectors=16, page_vectors=32)
    RetrievalBudget(16, 32).check(query_vectors=16, page_vectors=32)


def test_budgets_are_values():
    assert RetrievalBudget(4, 8) == RetrievalBudget.parse("balanced")
    assert len({RetrievalBudget(1, 1), RetrievalBudget.parse("fast")}) == 1


def test_the_default_budget_is_that_of_the_environment(monkeypatch):
    monkeypatch.delenv("METAEMBED_BUDGET", raising=False)
    assert RetrievalBudget.default() is None
    monkeypatch.setenv("METAEMBED_BUDGET", "4,8")
    assert RetrievalBudget.default() == RetrievalBudget(4, 8)
    monkeypatch.setenv("METAEMBED_BUDGET", "plenty")
    with pytest.raises(BudgetError, match="METAEMBED_BUDGET"):
        RetrievalBudget.default()
