"""Words of a readout with vectors of their own: read by window, beside their meaning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaembed_rag import MetaEmbedEncoder
from metaembed_rag.errors import CheckpointError
from metaembed_rag.model.readout_config import ReadoutConfig
from metaembed_rag.model.window_reader import WordVectors
from recipes.minilm.start import with_windows
from tests.support.tiny_bert import bert

PAGE, QUERY = "the quick fox jumps over the lazy dog", "a chart"
SIZE, WORDS = 64, 8


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def encoder(plain):
    return with_windows(plain)


def given(encoder, share, length=1.0):
    """The encoder's readout with words whose values come last, after the meaning's first 56."""
    model = encoder.backbone.model
    vectors = torch.randn(model.config.first_meta_token, WORDS, generator=torch.Generator())
    vectors = length * vectors / vectors.norm(dim=1, keepdim=True)
    model.give_words(vectors, share)
    with torch.no_grad():
        model.reader.output.weight.zero_()
        model.reader.output.weight[:-WORDS, : SIZE - WORDS] = torch.eye(SIZE - WORDS)
        model.reader.output.weight[-WORDS:, SIZE:] = torch.eye(WORDS)
    return vectors


def ids_of(encoder, text):
    return encoder.backbone.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_words_change_nothing_before_the_last_layer_takes_something_of_them(encoder):
    before = encoder.encode_document([PAGE])
    model = encoder.backbone.model
    model.give_words(torch.randn(model.config.first_meta_token, WORDS), 0.3)
    assert np.allclose(encoder.encode_document([PAGE]), before, atol=1e-5)


def test_a_page_of_words_alone_is_the_sum_of_their_vectors(encoder):
    vectors = given(encoder, 1.0)
    total = vectors[ids_of(encoder, PAGE)].sum(0)
    first = encoder.encode_document([PAGE])[0, 0]
    assert np.allclose(first[:-WORDS], 0, atol=1e-6)
    assert np.allclose(first[-WORDS:], (total / total.norm()).numpy(), atol=0.01)


def test_a_later_window_holds_its_own_words(encoder):
    vectors = given(encoder, 1.0)
    last = vectors[ids_of(encoder, PAGE)[-1]].numpy()
    found = encoder.encode_document([PAGE])[0, :, -WORDS:] @ last
    assert found[16:].max() > 0.99 > found[0]  # 48 windows, as narrow as a word piece


def test_the_words_have_their_share_of_a_page_and_rare_ones_more_of_a_query(encoder):
    vectors = given(encoder, 0.3)
    page = encoder.encode_document([PAGE])[0, 0]
    meaning = (page[:-WORDS] ** 2).sum()
    assert 0.3 <= 1 - meaning < 0.4  # 8 of the meaning's 64 values are not taken
    shares = []
    for length in (0.5, 2.0):
        found = encoder.backbone.model.reader.words
        found.set(length * vectors)
        shares.append((encoder.encode_query([QUERY])[0, 0, -WORDS:] ** 2).sum())
    assert shares[1] > 2 * shares[0]


def test_a_batch_gives_what_its_texts_give_one_by_one(encoder):
    given(encoder, 0.3)
    texts = [PAGE, PAGE * 40, "fox"]
    for vectors, text in zip(encoder.encode_document(texts), texts, strict=True):
        assert np.allclose(vectors, encoder.encode_document([text])[0], atol=1e-5)


def test_a_checkpoint_with_words_loads_with_the_same_vectors(encoder, tmp_path):
    given(encoder, 0.3)
    vectors = encoder.encode_document([PAGE])
    encoder.save_pretrained(tmp_path / "whole")
    loaded = MetaEmbedEncoder.from_pretrained(tmp_path / "whole", device="cpu")
    assert loaded.fingerprint == encoder.fingerprint
    assert np.array_equal(loaded.encode_document([PAGE]), vectors)
    encoder.save_pretrained(tmp_path / "half", dtype="float16")
    half = MetaEmbedEncoder.from_pretrained(tmp_path / "half", device="cpu")
    assert np.allclose(half.encode_document([PAGE]), vectors, atol=5e-3)
    low = MetaEmbedEncoder.from_pretrained(tmp_path / "half", device="cpu", dtype="bfloat16")
    assert np.allclose(low.encode_document([PAGE]), vectors, atol=3e-2)


def test_codes_are_within_a_127th_of_the_largest_value():
    vectors = torch.randn(5, WORDS)
    vectors[3] = 0
    words = WordVectors(5, WORDS)
    words.set(vectors)
    apart = (words(torch.arange(5)) - vectors).abs()
    assert (apart <= 0.51 * vectors.abs().amax(1, keepdim=True) / 127).all()


def test_words_are_given_once_and_for_every_word_piece(encoder):
    model = encoder.backbone.model
    pieces = model.config.first_meta_token
    with pytest.raises(ValueError, match=f"{pieces} rows, not 3"):
        model.give_words(torch.ones(3, WORDS), 0.3)
    model.give_words(torch.ones(pieces, WORDS), 0.3)
    with pytest.raises(CheckpointError, match="already"):
        model.give_words(torch.ones(pieces, WORDS), 0.3)


@pytest.mark.parametrize("wrong", [{"word_size": -1}, {"word_share": 1.5}])
def test_a_configuration_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(CheckpointError, match=r"config\.json"):
        ReadoutConfig({}, **wrong)
