"""Which words of a query stand on a page, what they add to BM25, and where they stand."""

from __future__ import annotations

import pytest

from metaembed_rag.search.matched_words import matched_words

pytest.importorskip("bm25s")
pytest.importorskip("Stemmer")

from metaembed_rag.search.words import LexicalIndex

TEXTS = [
    "Revenue by region: the regions of Asia. Revenue by region grew.",
    "A harbour and a region.",
    "Whales swim.",
]
IDS = ["a", "b", "c"]


@pytest.fixture
def index() -> LexicalIndex:
    return LexicalIndex.build(IDS, TEXTS)


def found(index: LexicalIndex, query: str) -> dict[str, list[str]]:
    matches = matched_words(index, query, "a", TEXTS[0])
    return {one.word: [TEXTS[0][a:b] for a, b in one.spans] for one in matches}


@pytest.mark.parametrize(
    "query",
    [
        *("revenue by region", "regions", "the region of the whale", "zebra", ""),
        "region revenue region revenue by region",
        "REVENUE, region!",
    ],
)
@pytest.mark.parametrize("id", IDS)
def test_the_weights_add_up_to_the_bm25_of_the_page(index: LexicalIndex, query: str, id: str):
    place = IDS.index(id)
    matches = matched_words(index, query, id, TEXTS[place])
    assert sum(one.weight for one in matches) == pytest.approx(index.scores(query)[place], rel=1e-5)


def test_a_word_stands_wherever_one_of_its_stem_does(index: LexicalIndex):
    assert found(index, "region")["region"] == ["region", "regions", "region"]


def test_a_pair_is_two_words_in_a_row_stop_words_aside(index: LexicalIndex):
    assert found(index, "revenue region")["revenue region"] == [
        "Revenue by region",
        "Revenue by region",
    ]


def test_stop_words_and_words_that_are_not_there_are_none(index: LexicalIndex):
    assert found(index, "the zebra by the harbour") == {}


def test_the_heaviest_comes_first(index: LexicalIndex):
    weights = [one.weight for one in matched_words(index, "revenue by region", "a", TEXTS[0])]
    assert weights == sorted(weights, reverse=True)


def test_a_page_that_the_words_do_not_know_has_none(index: LexicalIndex):
    assert matched_words(index, "region", "other", "region") == []


def test_without_a_stemmer_whole_words_are_compared():
    index = LexicalIndex.build(IDS, TEXTS, stemmer=None)
    assert found(index, "region")["region"] == ["region", "region"]
