"""What the arms of the comparison train: against slow definitions on toy models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("benchmarks.comparison.training")

from benchmarks.comparison.training import forward  # noqa: E402
from benchmarks.comparison.training.batches import TokenPairs  # noqa: E402
from benchmarks.comparison.training.forward import encode_tokens, pad  # noqa: E402
from benchmarks.comparison.training.objectives import (  # noqa: E402
    MeanVectorLoss,
    MetaTokenLoss,
    TokenLoss,
    diversity_penalty,
    mean_vectors,
    plain,
    token_vectors,
)
from benchmarks.comparison.training.settings import TrainSettings  # noqa: E402
from metaembed_rag.training.collapse import evenness_penalty  # noqa: E402
from metaembed_rag.training.mmr import MMRSettings  # noqa: E402
from recipes.mini.functional_init import build_model, functional_init  # noqa: E402
from recipes.mini.tokenizer import FIRST_TEXT_ID  # noqa: E402

VOCABULARY = FIRST_TEXT_ID + 60
SETTINGS = TrainSettings(steps=1, mmr=MMRSettings(temperatures=(0.1,) * 5))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = build_model(VOCABULARY, 128, layers=2, intermediate=64)
    functional_init(model, torch.randn(VOCABULARY, 128), torch.ones(VOCABULARY))
    return model.eval()


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(1)
    draw = lambda n: random.integers(FIRST_TEXT_ID, VOCABULARY, n).astype(np.uint16)  # noqa: E731
    return TokenPairs("toy", [draw(2), draw(5), draw(3)], [draw(9), draw(4), draw(7)])


def alone(model, text):
    """Unit vectors of one text's tokens, computed without a batch around it."""
    tokens = plain([text], 512)
    states = forward.token_states(model, tokens)[0, 1:-1]  # without [CLS] and [SEP]
    return torch.nn.functional.normalize(states, dim=-1)


def info_nce(scores, temperature=0.1):
    return torch.nn.functional.cross_entropy(scores / temperature, torch.arange(len(scores)))


@torch.no_grad()
def test_token_loss_is_the_mean_over_query_tokens_of_the_best_document_token(model, batch):
    scores = torch.stack(
        [
            torch.stack(
                [(alone(model, q) @ alone(model, d).T).max(1).values.mean() for d in batch.texts]
            )
            for q in batch.queries
        ]
    )
    loss = TokenLoss()(model, batch, 512, SETTINGS)
    assert loss.total.item() == pytest.approx(info_nce(scores).item(), abs=1e-4)


@torch.no_grad()
def test_mean_vector_loss_compares_the_means_of_the_tokens_states(model, batch):
    def mean(text):
        states = forward.token_states(model, plain([text], 512))[0, 1:-1]
        return torch.nn.functional.normalize(states.mean(0), dim=-1)

    asked, held = (
        torch.stack([mean(text) for text in texts]) for texts in (batch.queries, batch.texts)
    )
    assert torch.allclose(mean_vectors(model, plain(batch.texts, 512))[:, 0], held, atol=1e-5)
    loss = MeanVectorLoss()(model, batch, 512, SETTINGS)
    assert loss.total.item() == pytest.approx(info_nce(asked @ held.T).item(), abs=1e-4)


@torch.no_grad()
def test_rows_beyond_a_text_repeat_its_first_token(model, batch):
    vectors, read = token_vectors(model, plain(batch.texts, 512))
    assert read.sum(1).tolist() == [9, 4, 7]
    assert torch.equal(vectors[1][~read[1]], vectors[1, 1].expand(int((~read[1]).sum()), -1))


@torch.no_grad()
def test_causal_meta_tokens_do_not_see_the_later_ones(model, batch, monkeypatch):
    def first_vectors(causal):
        return encode_tokens(model, batch.texts, query=False, max_tokens=9, causal=causal)[:, :4]

    causal, both_ways = first_vectors(True), first_vectors(False)
    real = forward.side_ids
    monkeypatch.setattr(forward, "side_ids", lambda query: list(real(query))[:4])
    fewer = encode_tokens(model, batch.texts, query=False, max_tokens=9, causal=True)
    assert torch.allclose(causal, fewer, atol=1e-5)
    assert not torch.allclose(both_ways, fewer, atol=1e-5)


@torch.no_grad()
def test_dimension_prefixes_average_the_losses_of_their_prefixes(model, batch):
    both = MetaTokenLoss(dimensions=(128, 32))(model, batch, 512, SETTINGS).total
    each = [
        MetaTokenLoss(dimensions=(size,))(model, batch, 512, SETTINGS).total for size in (128, 32)
    ]
    assert both.item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-6)
    assert each[0].item() != pytest.approx(each[1].item(), abs=1e-3)


@torch.no_grad()
def test_regularisers_are_added_with_their_weight(model, batch):
    plain_loss = MetaTokenLoss()(model, batch, 512, SETTINGS).total.item()
    asked = forward.meta_vectors(model, pad(batch.queries, query=True, max_tokens=32))
    held = forward.meta_vectors(model, pad(batch.texts, query=False, max_tokens=512))
    penalty = 0.5 * evenness_penalty(asked, held) + 2 * diversity_penalty(held)
    loss = MetaTokenLoss(evenness=0.5, diversity=2.0)(model, batch, 512, SETTINGS)
    assert loss.total.item() == pytest.approx(plain_loss + penalty.item(), abs=1e-5)


def test_diversity_penalty_is_the_mean_squared_cosine_around_each_slots_mean():
    # Two inputs with two slots; around its mean each slot is plus or minus one axis.
    same = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[-1.0, 0.0], [-1.0, 0.0]]])
    apart = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, -1.0]]])
    assert diversity_penalty(same).item() == pytest.approx(1)
    assert diversity_penalty(apart).item() == pytest.approx(0)


def test_a_teacher_without_weight_changes_nothing(model, batch):
    class Loud:
        def scores(self, queries, texts):
            raise AssertionError("not asked")

    quiet = replace(SETTINGS, teacher_weight=0.0)
    assert MetaTokenLoss(Loud())(model, batch, 512, quiet).total.isfinite()
