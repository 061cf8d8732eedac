"""What every encoder does around its one batch, shown with an encoder that writes down lengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from metaembed_rag.errors import ModalityError, ModelError
from metaembed_rag.model.base import OrderedEncoder, PooledEncoder
from metaembed_rag.model.pooling import Pooling
from metaembed_rag.model.protocol import dimensions
from metaembed_rag.testing import FakeEncoder

SMALL, LARGE = Image.new("RGB", (28, 28)), Image.new("RGB", (280, 280))


class LengthEncoder(OrderedEncoder):
    """Vector j of an input is (its length, j)."""

    name, fingerprint, dimension, query_vectors, document_vectors = "lengths", "1", 2, 3, 4
    modalities = frozenset({"text", "image", "fused"})
    device = None
    _trained_dimensions = (2, 1, 1)

    def __init__(self):
        self.batches = []

    def _encode_batch(self, items, side, count):
        self.batches.append([item.length for item in items])
        return np.array([[(item.length, j) for j in range(count)] for item in items], np.float32)


class LettersEncoder(PooledEncoder):
    """A token a letter: 01, 10 or nothing."""

    name, fingerprint, dimension = "letters", "2", 2
    modalities = frozenset({"text"})
    settings = Pooling("ward", query_vectors=2, document_vectors=3, dimensions=(1,))

    def _tokens(self, items, side):
        tokens = {"a": [0.0, 1.0], "b": [1.0, 0.0], "?": [np.nan, 1.0]}
        return [
            np.array([tokens[letter] for letter in item.text if letter in tokens], np.float32)
            for item in items
        ]


@pytest.fixture
def encoder():
    return LengthEncoder()


def test_batches_hold_one_modality_longest_first_and_rows_keep_their_order(encoder):
    inputs = ["a", LARGE, "bbb", {"text": "c", "image": SMALL}, "dd", SMALL]
    found = encoder.encode_query(inputs, batch_size=2)
    assert found[:, 0, 0].tolist() == [1, 100, 3, 2, 2, 1]
    assert encoder.batches == [[3, 2], [1], [100, 1], [2]]


def test_each_side_has_its_number_of_vectors_or_the_first_that_are_asked_for(encoder):
    assert encoder.encode_query("a").shape == (1, 3, 2)
    assert encoder.encode_document(["a", "b"]).shape == (2, 4, 2)
    assert encoder.encode_document("a", vectors=2)[0].tolist() == [[1, 0], [1, 1]]
    assert encoder.encode_document([], vectors=2).shape == (0, 2, 2)
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=f"between 1 and 3 for a query, not {wrong}"):
            encoder.encode_query("a", vectors=wrong)


@pytest.mark.parametrize(("device", "size"), [("cpu", 8), ("meta", 20), (None, 20)])
def test_a_processor_takes_eight_inputs_at_a_time(encoder, device, size):
    encoder.device = device and torch.device(device)
    encoder.encode_query(["a"] * 20, batch_size=20)
    assert len(encoder.batches[0]) == size


def test_vectors_of_a_wrong_shape_or_that_are_no_numbers_are_refused(encoder, monkeypatch):
    for wrong, message in [
        (
            np.ones((1, 3, 5), np.float32),
            r"lengths gave vectors of shape \(1, 3, 5\), not \(1, 3, 2\)",
        ),
        (np.full((1, 3, 2), np.inf, np.float32), "lengths gave vectors that are not finite"),
    ]:
        monkeypatch.setattr(encoder, "_encode_batch", lambda *_, wrong=wrong: wrong)
        with pytest.raises(ModelError, match=message):
            encoder.encode_query("a")


def test_dimensions_are_ascending_and_end_with_the_whole_vector(encoder):
    assert encoder.dimensions == dimensions(encoder) == (1, 2)
    assert (encoder.pooling, encoder.device) == ("", None)


def test_tokens_are_pooled_and_their_numbers_stand_in_the_settings():
    letters = LettersEncoder()
    assert (letters.pooling, letters.query_vectors, letters.document_vectors) == ("ward", 2, 3)
    assert letters.dimensions == (1, 2)
    assert letters.encode_document("ab").tolist() == [[[0, 1], [1, 0], [0, 1]]]
    assert [len(one) for one in letters.encode_tokens(["ab", "a"], "query")] == [2, 1]


def test_an_input_without_tokens_or_with_tokens_that_are_no_numbers_is_named():
    with pytest.raises(ModalityError, match="document 1 has no token that letters scores"):
        LettersEncoder().encode_document(["ab", "c"])
    with pytest.raises(ModelError, match="letters gave vectors that are not finite"):
        LettersEncoder().encode_tokens(["?"], "query")


def test_the_encoder_without_weights_refuses_what_a_real_one_would():
    with pytest.raises(ModalityError, match="document 0 is an image, but fake reads text only"):
        FakeEncoder(modalities=["text"]).encode_document([SMALL])
    with pytest.raises(ModalityError, match="nothing to encode"):
        FakeEncoder().encode_query(" ")
