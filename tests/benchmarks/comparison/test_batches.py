"""Tokenised sources and the batches drawn from them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("benchmarks.comparison.training")

from benchmarks.comparison.training.batches import Ragged, Sampler, TokenisedSources, find, tokenise
from recipes.mini.data.corpora import TexPage, TextSources
from recipes.mini.tokenizer import (
    DOCUMENT_IDS,
    FIRST_TEXT_ID,
    QUERY_IDS,
    SPECIAL_TOKENS,
    encode,
    train_tokenizer,
)

WORDS = [f"word{letter}" for letter in "abcdefghijklmno"]


def page(document, number):
    """A page whose words are numbered, with its title in the middle."""
    words = [f"{WORDS[i % 15]} {document}" for i in range(40)]
    title = f"Heading {number} of {document}"
    text = " ".join([*words[:20], title, *words[20:]])
    return TexPage(f"/usr/share/doc/texlive-doc/latex/{document}/m.pdf", number, (title,), text)


@pytest.fixture(scope="module")
def sources():
    pages = [page(document, number) for document in "abcdef" for number in range(4)]
    pairs = [(f"{word} query", f"{word} text that answers") for word in WORDS]
    return TextSources(pages, pairs, pairs, pairs)


@pytest.fixture(scope="module")
def tokenizer(sources):
    return train_tokenizer(sources.texts(), 500)


@pytest.fixture(scope="module")
def tokens(sources, tokenizer):
    return tokenise(sources, tokenizer)


def test_special_tokens_have_the_ids_that_the_model_uses(tokenizer):
    assert [tokenizer.token_to_id(name) for name in SPECIAL_TOKENS] == list(range(FIRST_TEXT_ID))
    assert tokenizer.token_to_id("<|meta_query_15|>") == QUERY_IDS[-1]
    assert tokenizer.token_to_id("<|meta_document_63|>") == DOCUMENT_IDS[-1]


def test_the_tokenizer_ignores_case_and_hyphens_of_line_ends(tokenizer):
    plain, broken = encode(tokenizer, ["alpha gamma", "ALP\u0002HA gam\u00adma"])
    assert plain.tolist() == broken.tolist()


def test_ragged_gives_back_what_was_joined():
    parts = [np.array([1, 2], np.uint16), np.array([], np.uint16), np.array([3], np.uint16)]
    ragged = Ragged.of(parts)
    assert [ragged[i].tolist() for i in range(len(ragged))] == [[1, 2], [], [3]]


def test_find_is_by_token_and_not_by_byte():
    text = np.array([0x0102, 0x0304, 0x0203], np.uint16)
    assert find(text, np.array([0x0203], np.uint16)) == 2
    assert find(text, np.array([0x0304], np.uint16)) == 1
    assert find(np.array([0x0100, 0x0302], np.uint16), np.array([0x0201], np.uint16)) == -1


def test_a_title_is_found_where_its_page_shows_it(tokens):
    for title, at in enumerate(tokens.title_start):
        text, wanted = tokens.pages[tokens.page_of_title[title]], tokens.titles[title]
        assert text[at : at + len(wanted)].tolist() == wanted.tolist()


def test_sources_come_back_from_their_file(tokens, tmp_path):
    tokens.save(tmp_path / "sources.npz")
    back = TokenisedSources.load(tmp_path / "sources.npz")
    assert back.pages.ids.tolist() == tokens.pages.ids.tolist()
    assert back.title_start.tolist() == tokens.title_start.tolist()
    assert sorted(back.pairs) == ["debian", "opencqa", "wordnet"]
    assert back.pairs["debian"][1][3].tolist() == tokens.pairs["debian"][1][3].tolist()


def as_lists(batch):
    return [one.tolist() for one in batch.queries + batch.texts]


def test_a_batch_depends_on_seed_and_step_alone(tokens):
    one, other = Sampler(tokens, seed=3), Sampler(tokens, seed=3)
    one.draw(0, 4, 32)
    assert as_lists(one.draw(5, 4, 32)) == as_lists(other.draw(5, 4, 32))
    assert as_lists(one.draw(6, 4, 32)) != as_lists(other.draw(5, 4, 32))


@pytest.mark.parametrize("source", ["debian", "title", "span", "wordnet", "opencqa"])
def test_every_source_keeps_to_its_size_and_length(tokens, source):
    batch = Sampler(tokens, seed=0, mix={source: 1.0}).draw(0, 10, 24)
    assert batch.source == source
    assert len(batch.queries) == len(batch.texts) == 10
    assert max(len(text) for text in batch.texts) <= 24
    assert min(len(query) for query in batch.queries) >= 1


def test_a_title_batch_holds_other_pages_of_a_document(tokens):
    sampler = Sampler(tokens, seed=0, mix={"title": 1.0})
    titles = [query.tolist() for query in sampler.draw(0, 12, 32).queries]
    known = [tokens.titles[i].tolist() for i in range(len(tokens.titles))]
    documents = [tokens.document_of_page[tokens.page_of_title[known.index(t)]] for t in titles]
    assert len(titles) == 12
    assert len(set(documents)) < 12


def test_the_crop_of_a_title_shows_it_more_often_than_not(tokens):
    sampler = Sampler(tokens, seed=0, mix={"title": 1.0})
    batches = [sampler.draw(step, 12, 24) for step in range(10)]
    shown = [
        find(text, query) >= 0
        for batch in batches
        for query, text in zip(batch.queries, batch.texts, strict=True)
    ]
    assert 0.4 < np.mean(shown) < 0.9  # the title is removed in 0.3 of the pairs
