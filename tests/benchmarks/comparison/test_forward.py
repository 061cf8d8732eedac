"""The forward pass at the Meta Tokens equals the stock one."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("benchmarks.comparison.training")

from benchmarks.comparison.training.forward import encode_tokens, meta_vectors, pad  # noqa: E402
from recipes.mini.functional_init import build_model  # noqa: E402
from recipes.mini.tokenizer import CLS, DOCUMENT_IDS, FIRST_TEXT_ID, SEP  # noqa: E402

VOCABULARY = FIRST_TEXT_ID + 400


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def random_model(layers: int):
    torch.manual_seed(0)
    model = build_model(VOCABULARY, 128, layers=layers, intermediate=96).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def stock_vectors(model, text):
    """The definition: [CLS] text [SEP] Meta Tokens through the stock class, read at the end."""
    ids = torch.tensor([[CLS, *text.tolist(), SEP, *DOCUMENT_IDS]])
    states = model(input_ids=ids).last_hidden_state[0, -len(DOCUMENT_IDS) :]
    return torch.nn.functional.normalize(states, dim=-1)


@pytest.mark.parametrize("layers", [1, 2])
@torch.no_grad()
def test_vectors_equal_the_stock_forward_for_texts_of_unequal_length(layers):
    model, random = random_model(layers), np.random.default_rng(0)
    texts = [random.integers(FIRST_TEXT_ID, VOCABULARY, n).astype(np.uint16) for n in (3, 40, 17)]
    ours = meta_vectors(model, pad(texts, query=False, max_tokens=64))
    for vectors, text in zip(ours, texts, strict=True):
        assert (vectors - stock_vectors(model, text)).abs().max() < 1e-5


def test_encode_tokens_keeps_the_order_of_its_texts():
    model, random = random_model(1), np.random.default_rng(1)
    texts = [random.integers(FIRST_TEXT_ID, VOCABULARY, n).astype(np.uint16) for n in (9, 2, 30)]
    together = encode_tokens(model, texts, query=True, max_tokens=20, batch_size=2)
    for vectors, text in zip(together, texts, strict=True):
        alone = encode_tokens(model, [text], query=True, max_tokens=20)[0]
        assert (vectors - alone).abs().max() < 1e-5
