"""The bag model learns token vectors from training pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from metaembed_rag.training.data import Example, Side, TrainingSet  # noqa: E402
from recipes.mini.bag import Bag, BagSettings, embed, train_bag  # noqa: E402
from recipes.mini.tokenizer import FIRST_TEXT_ID, train_tokenizer  # noqa: E402

WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]


@pytest.fixture(scope="module")
def pairs():
    """Sixty pairs: the query is one word of its text of eight words."""
    random = np.random.default_rng(0)
    texts = [random.choice(WORDS, 8, replace=False).tolist() for _ in range(60)]
    return TrainingSet([Example(Side(t[0]), Side(" ".join(t))) for t in texts], name="toy")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([" ".join(WORDS)] * 3, FIRST_TEXT_ID + 500)


def test_the_bag_model_learns_to_find_a_text_by_one_of_its_words(pairs, tokenizer, tmp_path):
    losses = []
    settings = BagSettings(32, steps=200, batch_size=32)
    bag = train_bag([pairs], tokenizer, settings, on_step=lambda step, loss: losses.append(loss))
    assert bag.vectors.shape == (tokenizer.get_vocab_size(), 32)
    assert losses[-1] < 0.5 * math.log(32)  # guessing costs log 32
    assert bag.counts.sum() >= 60 * 9  # nine words a pair, of a token at least each
    bag.save(tmp_path / "bag.safetensors")
    back = Bag.load(tmp_path / "bag.safetensors")
    assert torch.equal(back.vectors, bag.vectors) and torch.equal(back.counts, bag.counts)


def test_an_empty_text_has_a_vector_in_the_bag_model():
    bag = torch.nn.EmbeddingBag.from_pretrained(torch.ones(10, 4), mode="mean")
    assert embed(bag, [np.array([], np.uint16)]).tolist() == [[0.5, 0.5, 0.5, 0.5]]
