"""nDCG@5 at each budget from vectors, on rankings that a pencil can check."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("ir_measures")
pytest.importorskip("benchmarks.comparison.training")

from benchmarks.comparison.training.curve import budget_curve  # noqa: E402
from metaembed_rag.evaluation import Dataset, Query  # noqa: E402
from metaembed_rag.pages import Page  # noqa: E402

PAGES = tuple(Page(name, text=name, id=name) for name in ("wrong", "right"))
DATA = Dataset("two pages", PAGES, (Query("q", "?"),), {"q": {"right": 1}})


def test_the_curve_uses_only_the_prefix_of_each_budget():
    """The right page matches in its fifth vector only: found from (4, 8) on."""
    query = torch.tensor([[[1.0, 0.0]] * 16])
    wrong, right = torch.tensor([[[0.0, 1.0]] * 64] * 2)
    wrong[0], right[4] = torch.tensor([0.6, 0.8]), torch.tensor([1.0, 0.0])
    curve = budget_curve(query, torch.stack([wrong, right]), DATA)
    second = 1 / math.log2(3)
    found = {"4,8": 1.0, "8,16": 1.0, "16,64": 1.0}
    assert curve == pytest.approx({"1,1": second, "2,4": second, **found})


def test_a_prefix_of_the_dimensions_is_compared_alone():
    """In one dimension both pages are the same, and the one whose id comes first is first."""
    query = torch.tensor([[[0.6, 0.8]] * 16])
    wrong, right = torch.tensor([[[1.0, 0.0]] * 64, [[0.6, 0.8]] * 64])
    pages = torch.stack([wrong, right])
    assert budget_curve(query, pages, DATA)["1,1"] == 1.0
    assert budget_curve(query, pages, DATA, 1)["1,1"] == 1.0  # "right" < "wrong"
    assert budget_curve(query, pages.flip(0), DATA)["1,1"] == pytest.approx(1 / math.log2(3))
