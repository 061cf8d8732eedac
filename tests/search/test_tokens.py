"""What counts as a word, in each script."""

from __future__ import annotations

import pytest

pytest.importorskip("bm25s")
pytest.importorskip("Stemmer")

from metaembed_rag.search.tokens import characters, page_words, query_words, tokens

RUNS = {
    "chinese": ("文件系统", ["文件", "件系", "系统"]),
    "japanese": ("の構造。", ["の構", "構造"]),
    "korean": ("파일을", ["파일", "일을"]),
    "thai, with its marks": ("ไฟล์", ["ไฟ", "ฟล์"]),
    "one character": ("猫", ["猫"]),
    "beside latin": ("Linux系统", ["linux", "系统"]),
    "over the end of a line": ("文件\n系统", ["文件", "件系", "系统"]),
    "but not over a space": ("文件 系统", ["文件", "系统"]),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_without_spaces_is_read_as_its_neighbours(name: str):
    text, expected = RUNS[name]
    assert query_words(text, "english") == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("german", "Die Häuser und der Garten", ["haus", "gart"]),
        ("french", "les maisons de la ville", ["maison", "vill"]),
        ("english", "the houses of the city", ["hous", "citi"]),
        (None, "the houses of the city", ["houses", "city"]),
        ("other", "the houses", ["the", "houses"]),
        ("chinese", "the houses", ["the", "houses"]),
    ],
)
def test_stop_words_and_endings_are_those_of_the_language(language, text, expected):
    assert query_words(text, language) == expected


@pytest.mark.parametrize("text", [text for text, _ in RUNS.values()] + ["Red apples, the pie_1!"])
def test_places_and_words_of_a_text_agree(text: str):
    found = list(tokens(text, "english"))
    assert [one.stem for one in found] == query_words(text, "english")
    for one in found:
        shown = text[one.start : one.end].lower().replace("\n", "")
        assert shown.startswith(one.stem[:2])


def test_on_a_page_each_chinese_character_of_a_run_counts_behind_the_rest():
    words = page_words(["文件 apples"], "english")
    names = {number: word for word, number in words.vocab.items()}
    assert [names[number] for number in words.ids[0]] == ["文件", "appl", "文", "件"]
    assert [(one.stem, one.start) for one in characters("a 文件 猫")] == [("文", 2), ("件", 3)]


def test_more_words_can_count_for_nothing():
    assert query_words("the Haus", "german", without=["the"]) == ["haus"]
