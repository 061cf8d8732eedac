"""Languages by name, of pages, of parts of pages and of queries; and words read by them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("bm25s")
pytest.importorskip("Stemmer")
pytest.importorskip("py3langid")

from metaembed_rag.errors import MissingExtraError, StoreError
from metaembed_rag.index import PageIndex
from metaembed_rag.metadata.languages import language_name, reading_of
from metaembed_rag.pages import Page
from metaembed_rag.search.languages import PageLanguages
from metaembed_rag.search.matched_words import matched_words
from metaembed_rag.search.pooled_words import QueryWords, search_among
from metaembed_rag.search.words import LexicalIndex
from metaembed_rag.testing import FakeEncoder

GERMAN = "Die Häuser der Stadt wurden im letzten Jahr vollständig renoviert und verkauft."
ENGLISH = "The houses of the city were renovated in the last year, and all of them were sold."
FRENCH = "Les maisons de la ville ont été rénovées et vendues pendant l'année dernière."
TEXTS = [GERMAN, ENGLISH, FRENCH, "文件系统的结构和猫的图片"]
IDS = ["de", "en", "fr", "zh"]


def read(texts=TEXTS, ids=None, stemmer="auto") -> LexicalIndex:
    return LexicalIndex.build(ids or IDS[: len(texts)], list(texts), stemmer=stemmer)


def best(index: LexicalIndex, query: str) -> list[str]:
    scores = index.scores(query)
    return [id for id, score in zip(index.ids, scores, strict=True) if score > 0]


# -- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name"),
    [
        *(("german", "german"), ("German ", "german"), ("de", "german"), ("de-AT", "german")),
        *(("pt_BR", "portuguese"), ("zh", "chinese"), ("auto", "auto"), ("none", None)),
    ],
)
def test_a_language_has_a_name_and_a_code(given, name):
    assert language_name(given) == name


@pytest.mark.parametrize("given", ["klingon", "", 7, "xx"])
def test_what_is_no_language_is_refused_with_those_that_are(given):
    with pytest.raises(StoreError, match=r"german|not the number|not"):
        language_name(given)


def test_an_opening_counts_before_what_the_index_remembers():
    assert reading_of("de", "english", "french") == "german"
    assert reading_of(None, "english", "french") == "french"
    assert reading_of(None, "english", "none") is None
    assert reading_of(None, None, "french") is None
    assert reading_of(None, "english", "") == "english"


# -- pages ---------------------------------------------------------------------------------


def test_each_page_is_found_by_an_inflected_word_of_its_language():
    index = read()
    assert best(index, "Haus") == ["de"]
    assert best(index, "house") == ["en"]
    assert best(index, "maison") == ["fr"]
    assert best(index, "系统") == best(index, "猫") == ["zh"]


def test_english_words_alone_find_no_german_plural():
    assert best(read(stemmer="english"), "Haus") == []


def test_a_stop_word_of_the_query_counts_on_no_page_of_another_language():
    index = read([f"{GERMAN} The THE the", ENGLISH])
    assert best(index, "the city is in the east") == ["en"]


def test_a_stop_word_of_one_language_is_a_word_of_another():
    war = "The war in the city was long, and all of them were lost."
    index = read([GERMAN, f"{GERMAN} Das war schön.", war], ["a", "b", "war"])
    assert best(index, "war") == ["war"]


def test_what_metadata_call_the_language_counts():
    said = PageLanguages.found(["table", "table"], ["fr-CA", "English"])
    assert [said.names[place] for place in said.of_page] == ["french", "english"]


def test_a_page_of_numbers_is_read_as_most_pages_are():
    found = PageLanguages.found([GERMAN, GERMAN + " Ja.", ENGLISH, "17 4 99"])
    assert [found.names[place] for place in found.of_page] == [
        "german",
        "german",
        "english",
        "german",
    ]


def test_a_page_without_any_language_is_no_error():
    assert read([""], ["a"]).scores("house").tolist() == [0]
    assert read([], []).scores("house").tolist() == []


def test_a_german_page_with_an_english_abstract_is_found_by_words_of_both():
    mixed = " ".join([ENGLISH] * 8 + [GERMAN] * 8)
    index = read([mixed, FRENCH], ["mixed", "fr"])
    assert index.languages is not None and list(index.languages.mixed) == [0]
    assert best(index, "Haus") == best(index, "house") == ["mixed"]
    for query, shown in (("Haus", "Häuser"), ("house", "houses")):
        [match] = matched_words(index, query, "mixed", mixed)
        assert {mixed[a:b] for a, b in match.spans} == {shown}


@pytest.mark.parametrize(
    "query", ["Haus der Stadt", "the houses of the city", "maison", "文件系统", "猫", "", "die the"]
)
@pytest.mark.parametrize("place", range(len(TEXTS)))
def test_the_weights_of_matched_words_add_up_to_the_bm25_of_the_page(query, place):
    index = read()
    matches = matched_words(index, query, IDS[place], TEXTS[place])
    assert sum(one.weight for one in matches) == pytest.approx(index.scores(query)[place], rel=1e-5)


def test_characters_that_overlap_are_shown_as_one_part_of_the_query():
    matches = matched_words(read(), "文件系统", "zh", TEXTS[3])
    assert {one.word for one in matches} == {"文件", "件系", "系统", "文件系", "件系统"}
    [match] = matched_words(read(), "猫", "zh", TEXTS[3])
    assert [TEXTS[3][a:b] for a, b in match.spans] == ["猫"]


# -- kept, pooled --------------------------------------------------------------------------


def test_a_saved_index_of_languages_is_the_same(tmp_path: Path):
    mixed = " ".join([ENGLISH] * 8 + [GERMAN] * 8)
    index = read([*TEXTS, mixed], [*IDS, "mixed"])
    index.save(tmp_path / "kept")
    again = LexicalIndex.load(tmp_path / "kept", stemmer="auto")
    for query in ("Haus", "house", "系统", "the city"):
        assert again.scores(query).tolist() == index.scores(query).tolist()
    assert again.equals(index)
    with pytest.raises(ValueError, match="another version"):
        LexicalIndex.load(tmp_path / "kept", stemmer="english")


def test_counts_of_one_index_alone_give_its_own_scores():
    index = read()
    for query in ("Haus der Stadt", "the houses of the city", "系统"):
        found = search_among(index, query, QueryWords.of(index, query))
        assert found.of(IDS) == pytest.approx(index.search(query).of(IDS), rel=1e-5)
        assert found.found_on(IDS) == pytest.approx(index.search(query).found_on(IDS), rel=1e-5)


def test_counts_know_in_which_languages_they_were_made():
    one, other = (QueryWords.of(read(texts), "city house") for texts in (TEXTS, TEXTS[:2]))
    assert one.languages != other.languages


# -- an index of pages ---------------------------------------------------------------------


def pages(texts=TEXTS) -> list[Page]:
    return [Page("s", number=n, text=text) for n, text in enumerate(texts, 1)]


def hybrid(index: PageIndex, query: str) -> list[int]:
    return [hit.page.number for hit in index.search(query, hybrid=True) if hit.bm25]


def test_an_index_remembers_its_language(tmp_path: Path):
    with PageIndex.open(tmp_path, FakeEncoder(), language="de") as index:
        index.add(pages())
        assert hybrid(index, "Haus") == [1]
    with PageIndex.open(tmp_path, FakeEncoder()) as index:
        assert index.info()["language"] == "german"
        assert hybrid(index, "Haus") == [1]
    with PageIndex.open(tmp_path, FakeEncoder(), language="english") as index:
        assert hybrid(index, "Haus") == []


def test_the_language_of_an_index_can_be_set_later_without_encoding(tmp_path: Path):
    with PageIndex.open(tmp_path, FakeEncoder()) as index:
        index.add(pages())
        assert (index.info()["language"], hybrid(index, "Haus")) == ("english", [])
        index.set_language("auto")
        assert hybrid(index, "Haus") == [1]
        assert index.check().findings == []
    with PageIndex.open(tmp_path, FakeEncoder()) as index:
        assert index.info()["language"] == "auto"


def test_a_language_of_metadata_decides_over_the_text(tmp_path: Path):
    with PageIndex.open(tmp_path, FakeEncoder(), language="auto") as index:
        index.add([Page("a", text="Häuser", metadata={"language": "de"}), Page("b", text=ENGLISH)])
        assert [hit.page.source for hit in index.search("Haus", hybrid=True) if hit.bm25] == ["a"]


def test_what_is_no_language_is_refused_before_an_index_is_made(tmp_path: Path):
    with pytest.raises(StoreError, match="klingon"):
        PageIndex.open(tmp_path / "i", FakeEncoder(), language="klingon")
    assert not (tmp_path / "i").exists()


def test_a_chinese_query_finds_a_chinese_page_in_any_index(tmp_path: Path):
    with PageIndex.open(tmp_path, FakeEncoder()) as index:
        index.add(pages())
        assert hybrid(index, "系统结构") == [4]


def test_words_of_an_older_format_are_made_again(tmp_path: Path):
    with PageIndex.open(tmp_path, FakeEncoder()) as index:
        index.add(pages())
        assert hybrid(index, "house") == [2]
    [about] = (tmp_path / "lexical").rglob("about.json")
    said = json.loads(about.read_text())
    said["format"][0] = 2
    about.write_text(json.dumps(said))
    with PageIndex.open(tmp_path, FakeEncoder()) as index:
        assert hybrid(index, "house") == [2]


def test_without_the_detector_auto_names_what_to_install(monkeypatch):
    from metaembed_rag.search import languages

    languages._detector.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(MissingExtraError, match=r"py3langid.*\.\[hybrid\]"):
        read()
    read(stemmer="german")  # needs none
