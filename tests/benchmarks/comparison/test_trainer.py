"""The comparison's training loop on a toy, and the teacher on numbers computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("benchmarks.comparison.training")

from benchmarks.comparison.training.batches import Ragged, Sampler, TokenisedSources  # noqa: E402
from benchmarks.comparison.training.objectives import MetaTokenLoss  # noqa: E402
from benchmarks.comparison.training.settings import TrainSettings  # noqa: E402
from benchmarks.comparison.training.teacher import TokenTeacher  # noqa: E402
from benchmarks.comparison.training.trainer import train  # noqa: E402
from recipes.mini.functional_init import build_model, functional_init  # noqa: E402
from recipes.mini.tokenizer import FIRST_TEXT_ID  # noqa: E402

VOCABULARY = FIRST_TEXT_ID + 120


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def sampler():
    """Sixty pairs: the query is one word of its text of eight words."""
    random = np.random.default_rng(0)
    texts = [random.integers(FIRST_TEXT_ID, VOCABULARY, 8).astype(np.uint16) for _ in range(60)]
    none = np.zeros(0, np.int32)
    sources = TokenisedSources(
        Ragged.of([]),
        none,
        none.astype(bool),
        Ragged.of([]),
        none,
        none,
        {"debian": (Ragged.of([text[:1] for text in texts]), Ragged.of(texts))},
        np.ones(VOCABULARY, bool),
    )
    return Sampler(sources, seed=0, mix={"debian": 1.0})


def new_model():
    torch.manual_seed(0)
    model = build_model(VOCABULARY, 128, layers=1, intermediate=64)
    vectors = torch.randn(VOCABULARY, 128)
    functional_init(model, vectors, torch.ones(VOCABULARY))
    return model, MetaTokenLoss(TokenTeacher(vectors))


def settings(steps):
    return TrainSettings(
        steps, shapes=((8, 16),), learning_rate=1e-3, token_learning_rate=2e-3, teacher_weight=2.0
    )


def test_an_interrupted_run_ends_where_the_whole_run_ends(sampler, tmp_path):
    whole, objective = new_model()
    train(whole, sampler, settings(4), objective=objective)
    state, stopped = tmp_path / "train.pt", {"after": 2}

    def stop(progress):
        if progress.step == stopped["after"]:
            raise KeyboardInterrupt

    first, _ = new_model()
    with pytest.raises(KeyboardInterrupt):
        train(
            first, sampler, settings(4), objective=objective, state=state, on_progress=stop,
            report_every=2,
        )  # fmt: skip
    resumed, _ = new_model()
    train(resumed, sampler, settings(4), objective=objective, state=state, report_every=2)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_training_lowers_the_loss_of_every_group(sampler):
    model, objective = new_model()
    seen = []
    train(
        model, sampler, settings(40), objective=objective, on_progress=seen.append, report_every=10
    )
    assert all(last < first for first, last in zip(seen[0].groups, seen[-1].groups, strict=True))


def test_special_rows_move_far_less_than_token_rows(sampler):
    model, objective = new_model()
    rows = model.embeddings.tok_embeddings.weight
    before = rows.detach().clone()
    train(model, sampler, settings(3), objective=objective)
    moved = (rows.detach() - before).abs()
    assert 0 < moved[:FIRST_TEXT_ID].max() < 0.1 * moved[FIRST_TEXT_ID:].max()


def test_the_teacher_adds_weighted_late_interaction_and_a_share_of_the_bag():
    """Two query tokens of weight 3 and 1; the document holds the first one only."""
    vectors = torch.zeros(FIRST_TEXT_ID + 2, 2)
    vectors[FIRST_TEXT_ID] = torch.tensor([3.0, 0.0])
    vectors[FIRST_TEXT_ID + 1] = torch.tensor([0.0, 1.0])
    query = [np.array([FIRST_TEXT_ID, FIRST_TEXT_ID + 1], np.uint16)]
    document = [np.array([FIRST_TEXT_ID], np.uint16)]
    late = (3 * 1 + 1 * 0) / (3 + 1)
    bag = 3 / math.sqrt(10)
    for share in (0.0, 0.5):
        score = TokenTeacher(vectors, bag_share=share).scores(query, document).item()
        assert score == pytest.approx(late + share * bag, abs=1e-2)  # bf16
