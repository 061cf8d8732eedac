"""What the functional initialisation makes of a text before any training."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from recipes.mini.functional_init import (  # noqa: E402
    HEAD_SIZE,
    PAGE_BLOCKS,
    ROPE_THETA,
    InitSettings,
    Windows,
    build_model,
    functional_init,
    kmeans,
    window_waves,
)
from recipes.mini.tokenizer import CLS, DOCUMENT_IDS, FIRST_TEXT_ID, SEP  # noqa: E402

VOCABULARY = FIRST_TEXT_ID + 400


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@torch.no_grad()
def page_vectors(model, text):
    """The definition: [CLS] text [SEP] Meta Tokens through the stock class, read at the end."""
    ids = torch.tensor([[CLS, *text.tolist(), SEP, *DOCUMENT_IDS]])
    states = model(input_ids=ids).last_hidden_state[0, -len(DOCUMENT_IDS) :]
    return torch.nn.functional.normalize(states, dim=-1)


def initialised(**settings):
    """A model whose token vectors have the lengths 1 (even ids) and 3 (odd ids)."""
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(VOCABULARY, 128), dim=1)
    vectors[1::2] *= 3
    model = build_model(VOCABULARY, 128, layers=1, intermediate=96).eval()
    functional_init(model, vectors, torch.ones(VOCABULARY), InitSettings(**settings))
    return model


def weighted_mean(model, text):
    """The mean of the tokens' rows, odd ids three times as heavy, as the model turned them."""
    rows = model.embeddings.tok_embeddings.weight.detach()[text.astype(int)].clone()
    rows[:, :2] = 0  # weight and constant are no content
    heavy = torch.from_numpy(np.where(text % 2, 3.0, 1.0)).float()
    return torch.nn.functional.normalize((heavy[:, None] * rows).sum(0), dim=0)


def test_before_training_the_first_vector_is_the_weighted_mean_of_the_tokens():
    model = initialised(noise=0.0)
    text = np.arange(FIRST_TEXT_ID, FIRST_TEXT_ID + 12).astype(np.uint16)
    first = page_vectors(model, text)[0]
    assert first @ weighted_mean(model, text) > 0.95


def test_before_training_a_window_reads_the_words_around_its_place():
    model, block = initialised(noise=0.0), PAGE_BLOCKS[-1]
    text = np.random.default_rng(0).integers(FIRST_TEXT_ID, VOCABULARY, 300).astype(np.uint16)
    vectors = page_vectors(model, text)[-block.count :]
    for window, centre in zip(vectors[:20], block.centres, strict=False):
        at = 300 - round(centre)
        near = text[max(0, at - 10) : at + 10]
        far = np.roll(text, 150)[max(0, at - 10) : at + 10]
        assert window @ weighted_mean(model, near) > 0.8
        assert window @ weighted_mean(model, far) < 0.5


def test_a_window_is_a_gaussian_in_the_distance():
    block = Windows(2, 50.0, 10.0)
    wave = window_waves(block, 0)[1]
    frequency = ROPE_THETA ** (-torch.arange(len(wave)) * 2 / HEAD_SIZE)
    distance = torch.arange(400)[:, None] - 3  # the second Meta Token stands 3 after the last word
    logits = (wave * torch.exp(1j * frequency * (distance + 3))).real.sum(1)
    share = logits.softmax(0)
    mean = (share * distance[:, 0]).sum()
    assert abs(mean - block.centres[1]) < 3
    assert abs((share * (distance[:, 0] - mean) ** 2).sum().sqrt() - block.width) < 3


def test_blocks_that_do_not_hold_all_meta_tokens_are_refused():
    with pytest.raises(ValueError, match="63"):
        initialised(blocks=(Windows(3, 235.0, 80.0),))


def test_the_first_dimensions_keep_most_of_a_cosine():
    spread = torch.randn(VOCABULARY, 128) * torch.logspace(0, -2, 128)
    turn, _ = torch.linalg.qr(torch.randn(128, 128))
    vectors = spread @ turn
    model = build_model(VOCABULARY, 128, layers=1, intermediate=96).eval()
    functional_init(model, vectors, torch.ones(VOCABULARY))
    text = np.arange(FIRST_TEXT_ID, FIRST_TEXT_ID + 40).astype(np.uint16)
    vectors = page_vectors(model, text)
    assert vectors[:, :64].norm(dim=1).median() > 0.9  # half of any 128 dimensions: 0.71


def test_before_training_the_other_vectors_differ_from_the_first_and_from_each_other():
    model = initialised()
    text = np.arange(FIRST_TEXT_ID, FIRST_TEXT_ID + 60).astype(np.uint16)
    vectors = page_vectors(model, text)
    cosines = (vectors @ vectors.T)[~torch.eye(64, dtype=torch.bool)]
    assert cosines.mean() < 0.6


def test_kmeans_finds_two_directions():
    points = torch.tensor([[1.0, 0.0], [0.99, 0.14], [0.0, 1.0], [0.14, 0.99]])
    points = torch.nn.functional.normalize(points, dim=1)
    centroids = kmeans(points, torch.ones(4), 2, seed=1)
    assert sorted((points @ centroids.T).argmax(1).bincount().tolist()) == [2, 2]
    assert (points @ centroids.T).amax(1).min() > 0.99
