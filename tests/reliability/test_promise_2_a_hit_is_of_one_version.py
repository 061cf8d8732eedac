"""Promise 2: a page is old or new, never mixed, and its score is that of the version returned."""

from __future__ import annotations

import pytest

from metaembed_rag import Page, PageIndex
from metaembed_rag.search.searcher import PageSearcher
from metaembed_rag.testing import FakeEncoder

OLD, NEW = "apple river", "stone cloud"


@pytest.fixture
def index():
    with PageIndex.open(":memory:", FakeEncoder()) as made:
        made.add([Page("a", text=OLD), Page("b", text="apple night"), Page("c", text="wheel")])
        yield made


def rewritten(index, monkeypatch, times):
    """Page ``a`` is written again between the scoring and the reading of so many searches."""
    store, real, left = index._store, index._store.get, [times]

    def get(ids, **given):
        if left[0] and "a#1" in ids:
            left[0] -= 1
            monkeypatch.setattr(store, "get", real)
            index.add([Page("a", text=NEW if left[0] % 2 == (times - 1) % 2 else OLD)])
            monkeypatch.setattr(store, "get", get)
        return real(ids, **given)

    monkeypatch.setattr(store, "get", get)


def score_of(query, text):
    with PageIndex.open(":memory:", FakeEncoder()) as alone:
        alone.add([Page("x", text=text)])
        return alone.search(query, exhaustive=True, hybrid=False)[0].score


@pytest.mark.parametrize("times", [1, 9])
@pytest.mark.parametrize("way", [{}, {"exhaustive": True}, {"candidates": 5}])
def test_a_page_that_is_written_while_it_is_searched_has_the_score_of_its_text(
    index, monkeypatch, way, times
):
    rewritten(index, monkeypatch, times)
    hits = index.search(OLD, 3, hybrid=False, **way)
    for hit in hits:
        assert hit.score == pytest.approx(score_of(OLD, hit.page.text), abs=1e-4)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("way", [{}, {"exhaustive": True}])
def test_a_page_that_becomes_worse_all_the_time_takes_no_better_ones_place(index, monkeypatch, way):
    """The best page is something else at the end: one hit fewer, and none that is not the best."""
    scored, texts = PageSearcher.mended, [f"{OLD} {OLD}", OLD, NEW]

    def meanwhile(*given):
        found = scored(*given)
        if texts:
            index.add([Page("a", text=texts.pop(0))])
        return found

    monkeypatch.setattr(PageSearcher, "mended", meanwhile)
    assert list(index.search(OLD, 1, hybrid=False, **way)) == []
    texts.extend([OLD, f"{OLD} {OLD}", OLD, NEW])
    every = index.search(OLD, 3, hybrid=False, **way)
    assert {hit.page.source for hit in every} == {"a", "b", "c"}


@pytest.mark.parametrize("times", [1, 9])
def test_so_have_its_words(index, monkeypatch, times):
    rewritten(index, monkeypatch, times)
    for hit in index.search(OLD, 3, hybrid=True):
        assert hit.maxsim == pytest.approx(score_of(OLD, hit.page.text), abs=1e-4)
        assert (hit.bm25 > 0) == ("apple" in hit.page.text or "river" in hit.page.text)


def test_so_have_pages_that_the_caller_names(index, monkeypatch):
    rewritten(index, monkeypatch, 1)
    [hit] = index.score(OLD, ["a#1"])
    assert hit.score == pytest.approx(score_of(OLD, hit.page.text), abs=1e-4)


def test_words_know_the_version_of_a_page_after_they_were_kept(tmp_path):
    with PageIndex.open(tmp_path / "i", FakeEncoder()) as first:
        first.add([Page("a", text=OLD)])
        first.search(OLD, hybrid=True)
        stamp = first._store.get(["a#1"])["a#1"].stamp
    with PageIndex.open(tmp_path / "i", FakeEncoder()) as second:
        words = second._searcher._lexical.current().search(OLD)
        assert words.stamps == {stamp}
