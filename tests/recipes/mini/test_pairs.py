"""Training pairs: what asks for what, and what never stands against each other."""

from __future__ import annotations

from recipes.mini.data.corpora import TexPage, TextSources
from recipes.mini.pairs import span_pairs, stored_pairs, title_page, title_pairs, training_pairs


def page(document, number, titles=()):
    """Forty different words that no other page has."""
    text = " ".join(f"{document}{number}w{i}" for i in range(40))
    return TexPage(f"/doc/{document}.pdf", number, tuple(titles), text)


def test_a_third_of_the_titles_is_removed_from_their_page():
    pages = [title_page(f"On Macros {i}", f"{i}. On  macros {i} are useful") for i in range(500)]
    without = [page for page in pages if page.endswith(". are useful")]
    assert 115 < len(without) < 190  # 77 of 256 of 500 are 150; one standard deviation is 10
    assert title_page("All", "All") == "All"


def test_a_title_stands_against_another_page_of_its_document_that_has_other_titles():
    pages = [page("a", 1, ["Usage", "Options"]), page("a", 2, ["Usage"]), page("a", 3, ["Notes"])]
    pages.append(page("b", 1, ["Usage"]))
    wrong = {(e.query.text, e.positive.text): e.negatives for e in title_pairs(pages, "0")}
    texts = [one.text for one in pages]
    assert [side.text for side in wrong["Usage", texts[0]]] == [texts[2]]
    assert {side.text for side in wrong["Options", texts[0]]} <= {texts[1], texts[2]}
    assert {side.text for side in wrong["Notes", texts[2]]} <= {texts[0], texts[1]}
    assert wrong["Usage", texts[3]] == ()  # the only page of its document


def test_a_span_is_some_words_of_its_page_which_half_of_the_pages_have_lost():
    pages = [page(f"d{i}", 1) for i in range(200)]
    examples = span_pairs(pages, "0")
    lost = 0
    for example, one in zip(examples, pages, strict=True):
        asked, words = example.query.text.split(), one.text.split()
        at = words.index(asked[0])
        assert asked == sorted(asked, key=words.index)
        assert 1 <= len(asked) <= 14
        assert set(asked) <= set(words[at : at + 14])
        kept = set(asked) & set(example.positive.text.split())
        assert kept in (set(), set(asked))
        lost += not kept
    assert 70 < lost < 130


def test_a_page_that_is_too_short_for_a_span_is_left_out():
    assert (
        span_pairs([TexPage("/a", 1, (), "ten words are too few for a span of three")], "0") == []
    )


def test_stored_pairs_may_lose_words_or_turn_round_and_none_has_an_empty_side():
    pairs = [(f"one two three four {i}", f"answer {i}") for i in range(300)] + [
        ("", "x"),
        ("x", ""),
    ]
    examples = stored_pairs(pairs, "0", swapped=0.3)
    assert len(examples) == 300
    turned = [e for e in examples if e.query.text.startswith("answer") or "answer" in e.query.text]
    whole = [e for e in examples if e.query.text.startswith("one two three four")]
    assert 60 < len(turned) < 125
    assert 120 < len(whole) < 190  # 0.7 kept their direction, and 0.7 of those their words
    assert all(example.query.text and example.positive.text for example in examples)


def test_the_same_seed_draws_the_same_pairs_and_a_set_without_text_is_left_out():
    sources = TextSources([page("a", i, [f"T{i}"]) for i in range(4)], [("q", "text")], [], [])
    pairs = training_pairs(sources, seed=3)
    assert list(pairs) == ["title", "span", "debian"]
    assert training_pairs(sources, seed=3) == pairs
    assert training_pairs(sources, seed=4)["span"] != pairs["span"]
