"""Where a title stands on its page, and whether a passage points at it."""

from __future__ import annotations

import pytest

from benchmarks.quality.pointing import (
    Kept,
    Titled,
    baselines,
    outline_places,
    placed,
    pointed,
    points_at,
    said,
)
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.pages import Page, load_pages
from metaembed_rag.testing import FakeEncoder
from tests.support.files import pdf_bytes

TEXT = "as Net revenue grew again\nNet Revenue\nit grew by a tenth\nand fell"


@pytest.fixture
def page() -> Page:
    [page] = load_pages(pdf_bytes([TEXT]), source="a.pdf")
    return page


@pytest.fixture
def titled(page: Page) -> Titled:
    found = placed("Net revenue", page, [])
    assert found is not None
    return found


def test_a_title_is_found_whatever_its_case_spaces_and_marks():
    text = "1. Net-\nRevenue (2024)"
    assert [text[a:b] for a, b in said(text, "net revenue")] == ["Net-\nRevenue"]
    assert list(said(text, "...")) == []


def test_without_an_outline_the_title_is_where_least_is_beside_it(page: Page, titled: Titled):
    assert not titled.by_outline
    assert titled.boxes[0][1] > placed("again", page, []).boxes[0][1]  # type: ignore[union-attr]


def test_the_outline_says_which_place_it_is(page: Page):
    found = placed("Net revenue", page, [("1 Net Revenue", 0.0)])
    assert found is not None
    assert found.by_outline
    assert found.boxes[0][1] < 0.15


def test_a_title_that_the_page_does_not_say_has_no_place(page: Page):
    assert placed("Gross revenue", page, []) is None


def test_an_outline_that_leads_to_a_page_says_how_far_down_only_where_it_does():
    assert outline_places(pdf_bytes([TEXT], outline=[("Net Revenue", 0, 1)]), 1) == []


def test_a_box_points_at_a_title_of_which_it_holds_half():
    title = [(0.0, 0.0, 0.4, 0.1)]
    assert points_at([(0.0, 0.0, 0.2, 0.1)], title)
    assert not points_at([(0.0, 0.0, 0.19, 0.1)], title)
    assert points_at([(0.0, 0.0, 0.01, 0.01), (0.39, 0.09, 0.4, 0.1)], title)
    assert not points_at([], title)


def test_the_share_of_random_passages_and_the_one_with_most_words(titled: Titled):
    assert baselines(titled, 1) == (1 / 4, False)  # the first line has both words, and is as short
    share, _ = baselines(titled, 2)
    assert share == pytest.approx(2 / 3)


def test_the_best_passage_of_an_explanation_is_what_points(titled: Titled):
    encoder = FakeEncoder(modalities=("text",))
    query = encoder.encode_query([titled.title])[0]
    hit, _, _, area, pieces = pointed(titled, query, RetrievalBudget(16, 64), Kept(encoder))
    assert hit
    assert 0 < area < 0.05
    assert pieces == len(encoder.encoded)
