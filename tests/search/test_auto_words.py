"""``hybrid="auto"``: words count by default where they can, and the plan says which and why."""

from __future__ import annotations

import logging
import re
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from metaembed_rag import PageIndex
from metaembed_rag.errors import MissingExtraError
from metaembed_rag.options import Fusion, SearchOptions
from metaembed_rag.pages import Page
from metaembed_rag.search.fusion import fuse, weighed
from metaembed_rag.search.words import LexicalIndex
from metaembed_rag.testing import FakeEncoder
from tests.support.indexes import index_of

PAGES = [
    Page(source="a", text="many other things and one zebra", metadata={"year": 1}),
    *(Page(source=f"b{i}", text=f"word{i} word{i + 1} common") for i in range(40)),
]


@pytest.fixture
def index():
    """Vectors of 8 values know little: only the words find the zebra."""
    return index_of(PAGES, FakeEncoder(dimension=8))


def without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)


def test_words_count_without_being_asked_for(index):
    asked = {"k": 3, "candidates": 3}
    hits = index.search("one zebra", **asked)
    assert hits.scoring == "hybrid"
    assert hits[0].page.source == "a"
    assert hits[0].bm25 > 0
    assert re.fullmatch(r"vectors and words \(BM25, which counts 0\.\d+\)", hits.plan.words)
    alone = index.search("one zebra", hybrid=False, **asked)
    assert (alone.scoring, alone.plan.words) == ("maxsim", "")
    assert alone[0].page.source != "a"


@pytest.mark.parametrize("way", [{}, {"exhaustive": True}, {"candidates": 9}, {"budget": "fast"}])
def test_auto_has_both_scores_of_true_and_a_weight_for_the_query(index, way):
    auto, on, unsaid = (
        index.search("common zebra", 9, hybrid=value, **way) for value in ("auto", True, None)
    )
    assert list(auto) == list(unsaid)
    both = {hit.page.id: (hit.maxsim, hit.bm25) for hit in on}
    assert all(
        both.get(hit.page.id, (hit.maxsim, hit.bm25)) == (hit.maxsim, hit.bm25) for hit in auto
    )
    assert auto.plan.stages == on.plan.stages


def test_what_is_found_of_the_query_counts_beside_maxsim():
    # MaxSim from 0 to 1 is 1, 1/2, 0; with what is found the sums are 1, 1, 3/2, and 5/2 is most.
    fused = fuse(weighed(1.5), np.array([9.0, 6.0, 3.0]), np.array([0.0, 0.5, 1.5]))
    assert fused == pytest.approx([1 / 2.5, 1 / 2.5, 1.5 / 2.5])
    assert weighed(0.25).weight == pytest.approx(1 / 5)


def test_a_query_that_stands_on_a_page_is_left_to_its_words_and_another_one_to_the_vectors():
    texts = ["setting the table of contents", *(f"contents {word} tables" for word in "abcdefghij")]
    words = LexicalIndex.build([str(n) for n in range(len(texts))], texts)
    title, question = (words.search(one) for one in ("table of contents", "contents in a giraffe"))
    assert weighed(title.most_found()).weight > 0.4 > 3 * weighed(question.most_found()).weight


def test_the_words_weight_is_that_of_the_pages_that_pass_the_filter(index):
    hits = [index.search("word3 zebra", where={"source": one}) for one in ("b3", "a")]
    assert hits[0].plan.words != hits[1].plan.words
    # A lone page has the words' weight as its score; a word counts less on the longer page.
    assert 0.5 > hits[0][0].score > hits[1][0].score > 0


def test_without_the_extra_it_is_a_search_by_vectors_and_says_so(index, monkeypatch, caplog):
    alone = index.search("common zebra", hybrid=False)
    without_the_extra(monkeypatch)
    hits = index.search("common zebra")
    assert list(hits) == list(alone)
    assert (hits.scoring, hits[0].maxsim, hits[0].bm25) == ("maxsim", None, None)
    assert "pip install '.[hybrid]'" in hits.plan.words
    assert hits.to_dict()["words"] == hits.plan.words
    assert not caplog.records
    with pytest.raises(MissingExtraError, match="hybrid"):
        index.search("zebra", hybrid=True)


def test_without_the_extra_no_text_is_read_in_vain(index, monkeypatch):
    without_the_extra(monkeypatch)
    monkeypatch.setattr(type(index._store), "texts", lambda self: pytest.fail("texts were read"))
    assert index.search("zebra").scoring == "maxsim"


@pytest.mark.parametrize(
    ("query", "options", "why"),
    [
        (Image.new("RGB", (8, 8), "red"), {}, "the query has no text"),
        ("giraffe", {}, "no page that may be found has a word"),
        ("the of and", {}, "no page that may be found has a word"),
        ("zebra", {"where": {"source": "b1"}}, "no page that may be found has a word"),
    ],
)
def test_a_query_whose_words_cannot_count_has_scores_of_vectors(index, query, options, why):
    hits = index.search(query, **options)
    assert list(hits) == list(index.search(query, hybrid=False, **options))
    assert hits.scoring == "maxsim"
    assert why in hits.plan.words


def test_queries_of_one_batch_are_judged_one_by_one(index):
    found = index.search_batch(["zebra", Image.new("RGB", (8, 8), "red"), "giraffe", "word7"])
    assert [hits.scoring for hits in found] == ["hybrid", "maxsim", "maxsim", "hybrid"]


def test_an_empty_index_and_pages_without_text_are_no_error():
    assert index_of([], FakeEncoder()).search("apples") == []
    picture = Page(source="p", image=Image.new("RGB", (8, 8), "red"))
    assert index_of([picture], FakeEncoder()).search("apples").scoring == "maxsim"


def test_a_filter_holds_for_words_too(index):
    hits = index.search("common zebra word3", k=50, where={"year": 1})
    assert [hit.page.source for hit in hits] == ["a"]
    assert hits.scoring == "hybrid"


def test_vectors_without_a_text_are_searched_alone(index):
    vectors = index.encoder.encode_query(["zebra"])[0]
    assert index.search_vectors(vectors).scoring == "maxsim"
    assert index.search_vectors(vectors, text="zebra").scoring == "hybrid"


def test_a_new_index_says_that_words_count_and_one_of_before_does_not(tmp_path, vectors_alone):
    encoder = FakeEncoder()
    before = PageIndex.open(tmp_path, encoder)
    before.add(PAGES)
    assert before.info()["hybrid"] == "off"
    assert before.search("zebra").scoring == "maxsim"
    assert before.search("zebra", hybrid="auto").scoring == "hybrid"


def test_what_an_index_does_by_default_is_kept_with_it(tmp_path):
    PageIndex.open(tmp_path, FakeEncoder()).add(PAGES)
    again = PageIndex.open(tmp_path, FakeEncoder(), create=False)
    assert again.info()["hybrid"] == "auto"
    assert again.search("zebra").scoring == "hybrid"


def test_words_that_cannot_be_kept_are_built_in_memory(tmp_path, monkeypatch, caplog):
    def refused(self, folder):
        raise PermissionError(13, "read-only")

    index = PageIndex.open(tmp_path, FakeEncoder())
    index.add(PAGES)
    monkeypatch.setattr(LexicalIndex, "save", refused)
    with caplog.at_level(logging.WARNING):
        assert index.search("zebra").scoring == "hybrid"
        assert index.search("zebra").scoring == "hybrid"


def test_many_threads_build_the_words_once(index, monkeypatch):
    built, real = [], LexicalIndex.build.__func__

    def counted(cls, *arguments, **keywords):
        built.append(1)
        return real(cls, *arguments, **keywords)

    monkeypatch.setattr(LexicalIndex, "build", classmethod(counted))
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(index.search("zebra").scoring))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, built) == (["hybrid"] * 4, [1])


def test_the_option_is_taken_everywhere():
    assert SearchOptions(hybrid="auto").hybrid == "auto"
    assert Fusion.parse("auto") == Fusion()
    assert SearchOptions(hybrid=False).over(SearchOptions(hybrid="auto")).hybrid is False
    assert SearchOptions().over(SearchOptions(hybrid="auto")).hybrid == "auto"
