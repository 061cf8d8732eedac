"""The training loop on a toy, the teacher and the metric on numbers computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from recipes.mini.bag import embed, train_bag  # noqa: E402
from recipes.mini.batches import Ragged, Sampler, TokenisedSources  # noqa: E402
from recipes.mini.functional_init import build_model, functional_init  # noqa: E402
from recipes.mini.objectives import MetaTokenLoss  # noqa: E402
from recipes.mini.retrieval import budget_curve, ndcg  # noqa: E402
from recipes.mini.teacher import TokenTeacher  # noqa: E402
from recipes.mini.tokenizer import FIRST_TEXT_ID  # noqa: E402
from recipes.mini.trainer import TrainSettings, train  # noqa: E402

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


def test_the_bag_model_learns_to_find_a_text_by_one_of_its_words(sampler):
    losses = []
    vectors = train_bag(
        sampler, VOCABULARY, 32, steps=200, batch_size=32,
        on_step=lambda step, loss, _: losses.append(loss),
    )  # fmt: skip
    assert vectors.shape == (VOCABULARY, 32)
    assert losses[-1] < 0.5 * math.log(32)  # guessing costs log 32


def test_an_empty_text_has_a_vector_in_the_bag_model():
    bag = torch.nn.EmbeddingBag.from_pretrained(torch.ones(10, 4), mode="mean")
    assert embed(bag, [np.array([], np.uint16)]).tolist() == [[0.5, 0.5, 0.5, 0.5]]


def test_ndcg_of_a_ranking_computed_by_hand():
    """Gains 2 and 1; the document of gain 2 comes second, the other one fourth."""
    scores = np.array([[0.4, 0.9, 0.7, 0.5]])
    expected = (2 / math.log2(3) + 1 / math.log2(5)) / (2 / math.log2(2) + 1 / math.log2(3))
    assert ndcg(scores, [{2: 2.0, 0: 1.0}]) == pytest.approx(expected)
    assert ndcg(scores, [{2: 2.0, 0: 1.0}], k=1) == 0


def test_the_curve_uses_only_the_prefix_of_each_budget():
    """The right page matches in its fifth vector only: found from (4, 8) on."""
    query = torch.tensor([[[1.0, 0.0]] * 16])
    wrong, right = torch.zeros(2, 64, 2)
    wrong[:, 0], right[4, 0] = 0.5, 1.0
    curve = budget_curve(query, torch.stack([wrong, right]), [{1: 1.0}])
    found = {budget for budget, value in curve.items() if value == 1.0}
    assert found == {"4,8", "8,16", "16,64"}
