"""Word search and its fusion with MaxSim; the store is a dictionary unless the name says Chroma."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import bm25s
import numpy as np
import pytest

from metaembed_rag.errors import MissingExtraError, StoreError
from metaembed_rag.options import Fusion
from metaembed_rag.search.fusion import fuse
from metaembed_rag.search.lexical_cache import LexicalCache
from metaembed_rag.search.pairs import WordPairs
from metaembed_rag.search.words import FOUND_PAIRS, FOUND_WORDS, LexicalIndex
from metaembed_rag.store.records import StampedText

TEXTS = ["red apples grow", "blue whales swim", "", "apples and whales"]


def built(texts=TEXTS, **options):
    return LexicalIndex.build([f"p{i}" for i in range(len(texts))], list(texts), **options)


# -- BM25 ----------------------------------------------------------------------------------


def test_the_score_is_lucenes_bm25():
    # Two pages of one word: idf = ln(1 + 1.5/1.5), tf part = 1 / (1 + 1.5).
    scores = built(["apple", "whale"]).scores("apple")
    assert scores == pytest.approx([math.log(2) / 2.5, 0])
    assert scores.dtype == np.float32


def test_the_most_that_words_can_give_is_the_sum_of_their_idf():
    # One page of two has the first word: ln(1 + 1.5/1.5). None has the other: ln(1 + 2.5/0.5).
    assert built(["apple", "whale"]).most("apples zebra") == pytest.approx(math.log(2 * 6))
    assert built(["apple", "whale"]).most("the") == built([""]).most("apple") == 0


def test_shares_say_how_much_of_the_query_a_page_has():
    # All words and pairs are equally rare, on one page of two: of three words the first page has
    # two, of two pairs one, and each counts 1/2.5 of its idf. The unknown word is rarer: ln 6.
    index = built(["red apple", "blue whale"])
    known, rarest = math.log(2), math.log(6)
    words, pairs = index.shares("red apple zebra", *index.parts("red apple zebra"))
    assert words == pytest.approx([2 * known / 2.5 / (2 * known + rarest), 0])
    assert pairs == pytest.approx([known / 2.5 / (known + rarest), 0])
    found = index.search("red apple zebra").found_on(["p1", "p0", "none"])
    assert found == pytest.approx([0, FOUND_WORDS * words[0] + FOUND_PAIRS * pairs[0], 0])
    assert found.dtype == np.float32


def test_the_word_of_a_query_without_pairs_stands_for_them():
    index = built(["red apple", "blue whale"])
    words, pairs = index.shares("apples", *index.parts("apples"))
    assert words.tolist() == pairs.tolist() == pytest.approx([1 / 2.5, 0])
    assert index.search("giraffe").most_found() == built([""]).search("apple").most_found() == 0
    unknown = index.shares("giraffe", *index.parts("giraffe"))
    assert [one.tolist() for one in unknown] == [[0, 0], [0, 0]]


def test_a_pair_of_neighbours_counts_half_its_own_bm25():
    # As words both pages are equal; the pair is on one page of two, which holds one pair.
    index = built(["apple pie", "pie apple"])
    same, other = index.scores("apple pie")
    assert same - other == pytest.approx(0.5 * math.log(2) / 2.5)
    words, pairs = index.parts("apple pie")
    assert words[0] == words[1]
    assert pairs.tolist() == pytest.approx([math.log(2) / 2.5, 0])


@pytest.mark.parametrize(
    ("text", "query", "meets"),
    [
        ("apple pie", "apples and the pies", True),  # stop words and endings are gone first
        ("apple of the pie", "apple pie", True),
        ("apple pie", "apple zebra pie", False),  # an unknown word stands between
        ("apple", "apple pie", False),
        ("apple zebra pie", "apple pie", False),
    ],
)
def test_what_is_a_pair(text, query, meets):
    _, pairs = built([text, "pie"]).parts(query)
    assert (pairs[0] > 0) == meets
    assert pairs[1] == 0


def test_pairs_score_as_bm25s_scores_the_joined_words():
    generator = np.random.default_rng(0)
    pages = [generator.integers(0, 9, size).tolist() for size in (0, 1, 2, 40, 17, 300)]
    joined = [[f"{a} {b}" for a, b in pairwise(page)] for page in pages]
    slow = bm25s.BM25()
    slow.index(joined, show_progress=False)
    fast = WordPairs.build(pages)
    for query in ([3, 1, 4, 1, 5], [2, 2, 2], [7], []):
        terms = [
            term for term in (f"{a} {b}" for a, b in pairwise(query)) if term in slow.vocab_dict
        ]
        expected = slow.get_scores(terms) if terms else np.zeros(len(pages))
        assert fast.scores(query) == pytest.approx(expected, rel=1e-5)


def test_stemming_ignores_endings_and_plain_words_do_not():
    assert built().scores("apple")[0] > 0
    assert built(stemmer=None).scores("apple").tolist() == [0, 0, 0, 0]
    assert built(stemmer=None).scores("apples")[0] > 0


@pytest.mark.parametrize("query", ["", "the and of", "zebra", "?!"])
def test_a_query_without_a_known_word_scores_nothing(query):
    assert built().scores(query).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("texts", [[], [""], ["", "the"]])
def test_pages_without_words_are_no_error(texts, tmp_path):
    index = built(texts)
    index.save(tmp_path / "x")
    for one in (index, LexicalIndex.load(tmp_path / "x", stemmer="english")):
        assert one.scores("apples").tolist() == [0] * len(texts)


def test_an_unknown_stemmer_is_refused_by_name():
    with pytest.raises(StoreError, match=r"klingon.*english"):
        built(stemmer="klingon")


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError, match=r"\.\[hybrid\]"):
        built()


def test_a_saved_index_is_the_same(tmp_path):
    index = built(stamps=["1-a"])
    index.save(tmp_path / "kept")
    again = LexicalIndex.load(tmp_path / "kept", stemmer="english")
    assert (again.ids, again.stamps) == (index.ids, index.stamps)
    assert again.scores("apples whales").tolist() == index.scores("apples whales").tolist()


def test_every_damaged_byte_is_noticed(tmp_path):
    built().save(tmp_path / "kept")
    files = sorted(path for path in (tmp_path / "kept").iterdir() if path.name != "about.json")
    assert len(files) >= 3
    for path in files:
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(ValueError, match="damaged"):
            LexicalIndex.load(tmp_path / "kept", stemmer="english")
        path.write_bytes(data)
    LexicalIndex.load(tmp_path / "kept", stemmer="english")


def test_an_index_of_another_stemmer_is_not_read(tmp_path):
    built().save(tmp_path / "kept")
    with pytest.raises(ValueError, match="another version"):
        LexicalIndex.load(tmp_path / "kept", stemmer=None)


# -- fusion --------------------------------------------------------------------------------


def test_minmax_is_a_weighted_mean_of_both_shares():
    # MaxSim from 1 to 5: shares 0, 1, 1/2. BM25 up to 8: shares 1, 0, 1/4.
    fused = fuse(Fusion(weight=0.25), np.array([1.0, 5.0, 3.0]), np.array([8.0, 0.0, 2.0]))
    assert fused == pytest.approx([0.25, 0.75, 0.75 * 0.5 + 0.25 * 0.25])


def test_rrf_adds_reciprocal_ranks_and_leaves_out_pages_without_the_words():
    # Places by MaxSim 3, 1, 2; by BM25 1, none, 2. The largest possible sum is 2/61.
    fused = fuse(Fusion("rrf"), np.array([1.0, 5.0, 3.0]), np.array([8.0, 0.0, 2.0]))
    assert fused * 2 / 61 == pytest.approx([1 / 63 + 1 / 61, 1 / 61, 1 / 62 + 1 / 62])


@pytest.mark.parametrize("fusion", [Fusion(), Fusion("rrf")])
def test_equal_pages_get_equal_scores_in_zero_to_one(fusion):
    fused = fuse(fusion, np.array([2.0, 2.0, 1.0]), np.array([3.0, 3.0, 0.0]))
    assert fused[0] == fused[1] == 1
    assert 0 <= fused[2] < 1


@pytest.mark.parametrize("fusion", [Fusion(), Fusion("rrf")])
def test_without_words_the_order_is_that_of_maxsim(fusion):
    fused = fuse(fusion, np.array([0.1, 0.3, 0.2]), np.zeros(3))
    assert np.argsort(-fused).tolist() == [1, 2, 0]
    assert fuse(fusion, np.zeros(0), np.zeros(0)).shape == (0,)


def test_hybrid_is_off_on_a_name_or_a_weight():
    assert Fusion.parse(False) is None
    assert Fusion.parse(None) is None
    assert Fusion.parse(True) == Fusion.parse("minmax") == Fusion("minmax", 0.6)
    assert Fusion.parse("rrf") == Fusion("rrf")
    assert Fusion.parse(0.3) == Fusion(weight=0.3)
    assert Fusion.parse(Fusion("rrf")) == Fusion("rrf")


@pytest.mark.parametrize("value", ["bm25", 0.0, 1.0, -1.0, 2, 0, float("nan"), ["rrf"]])
def test_other_values_are_refused(value):
    with pytest.raises(StoreError, match='True, "minmax", "rrf"'):
        Fusion.parse(value)


# -- what keeps it current -----------------------------------------------------------------


class FakeTexts:
    """A store of texts in a dictionary; each write has a stamp, as in Chroma."""

    def __init__(self):
        self.pages: dict[str, StampedText] = {}
        self.writes = 0
        self.read = 0
        self.cheap = True
        self.meanwhile = {}

    def write(self, **texts):
        self.writes += 1
        stamp = f"{len(texts)}-{self.writes}"
        for id, text in texts.items():
            self.pages[id] = StampedText(id, text, stamp, len(texts))

    def delete(self, id):
        self.writes += 1
        del self.pages[id]

    def count(self):
        return len(self.pages)

    def texts(self):
        self.read += 1
        for id in sorted(self.pages):
            yield self.pages[id]
            if id in self.meanwhile:
                self.meanwhile.pop(id)()

    def written_since(self, stamps):
        return [id for id, page in self.pages.items() if page.stamp not in stamps]

    def with_stamp(self, stamp):
        return [id for id, page in self.pages.items() if page.stamp == stamp]

    def revision(self):
        return self.writes if self.cheap else None

    def states(self):
        return []

    def origin(self):
        return "one database"


@pytest.fixture(params=["cheap revision", "no revision"])
def store(request):
    store = FakeTexts()
    store.cheap = request.param == "cheap revision"
    store.write(a="red apples", b="blue whales")
    return store


def found(cache, word):
    index = cache.current()
    return [id for id, score in zip(index.ids, index.scores(word), strict=True) if score > 0]


def test_it_is_built_once_for_many_searches(store, tmp_path):
    cache = LexicalCache(store, tmp_path)
    assert found(cache, "apples") == ["a"]
    assert found(cache, "whales") == ["b"]
    assert store.read == 1


def test_every_kind_of_write_is_seen(store, tmp_path):
    cache = LexicalCache(store, tmp_path)
    assert found(cache, "apples") == ["a"]
    store.write(a="green pears")
    assert (found(cache, "apples"), found(cache, "pears")) == ([], ["a"])
    store.write(c="apples again")
    assert found(cache, "apples") == ["c"]
    store.delete("c")
    assert found(cache, "apples") == []
    store.delete("b")
    store.write(d="apples")  # the number of pages is the same again
    assert found(cache, "apples") == ["d"]
    assert store.read == 5


def test_the_next_process_loads_what_this_one_built(store, tmp_path):
    found(LexicalCache(store, tmp_path), "apples")
    assert found(LexicalCache(store, tmp_path), "apples") == ["a"]
    assert store.read == 1


def test_a_kept_one_that_is_stale_is_replaced(store, tmp_path):
    found(LexicalCache(store, tmp_path), "apples")
    store.write(a="green pears")
    assert found(LexicalCache(store, tmp_path), "pears") == ["a"]
    assert len(list(tmp_path.iterdir())) == 1
    assert found(LexicalCache(store, tmp_path), "pears") == ["a"]
    assert store.read == 2


def test_a_damaged_or_deleted_one_is_built_again(store, tmp_path):
    place = tmp_path / "lexical"
    found(LexicalCache(store, place), "apples")
    [kept] = place.iterdir()
    (kept / "about.json").write_text("{}")
    assert found(LexicalCache(store, place), "apples") == ["a"]
    shutil.rmtree(place)
    assert found(LexicalCache(store, place), "apples") == ["a"]
    assert store.read == 3


def test_a_write_that_was_read_in_part_is_found_by_the_next_search(store):
    # Page a is read, then one request changes a and b, then b is read.
    store.meanwhile["a"] = lambda: store.write(a="green pears", b="blue pears")
    cache = LexicalCache(store, None)
    assert found(cache, "pears") == ["b"]
    assert found(cache, "pears") == ["a", "b"]


def test_pages_of_a_request_that_others_changed_later_are_no_reason_to_build_again(store):
    store.write(a="green pears")  # of the first request's two pages only b is left
    cache = LexicalCache(store, None)
    assert found(cache, "whales") == found(cache, "whales") == ["b"]
    assert store.read == 1


def test_pages_without_a_stamp_are_read_each_time(store):
    store.cheap = False
    store.pages["a"] = replace(store.pages["a"], stamp="", request_size=1)
    cache = LexicalCache(store, None)
    assert found(cache, "apples") == ["a"]
    store.pages["a"] = replace(store.pages["a"], text="green pears")
    assert found(cache, "pears") == ["a"]


def test_a_place_that_cannot_be_written_is_no_error(store, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    assert found(LexicalCache(store, tmp_path / "file" / "x"), "apples") == ["a"]
    assert "cannot be kept" in caplog.text


def test_fault_18_a_library_says_no_debug_lines_where_logging_is_configured():
    code = "import logging; logging.basicConfig(level=logging.WARNING)\n"
    code += "from metaembed_rag.search.words import LexicalIndex\n"
    code += "LexicalIndex.build(['a', 'b'], ['red apples', 'blue whales']).scores('whales')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
