"""The MMR loss against its definition written out with loops and numbers computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from metaembed_rag.training.mmr import MMRSettings, group_scores, mmr_loss  # noqa: E402
from tests.support.tensors import unit_tensor  # noqa: E402


def slow_loss(queries, documents, settings):
    """The definition: loops over groups, queries, documents and vectors."""
    total = 0.0
    for (r_q, r_c), weight, temperature in zip(
        settings.groups, settings.weights, settings.temperatures, strict=True
    ):
        cross_entropy = 0.0
        for i, query in enumerate(queries):
            logits = []
            for document in documents:
                score = sum(max(q @ d for d in document[:r_c]) for q in query[:r_q])
                logits.append((score / r_q if settings.score == "mean" else score) / temperature)
            cross_entropy += torch.logsumexp(torch.stack(logits), 0) - logits[i]
        total = total + weight / sum(settings.weights) * cross_entropy / len(queries)
    return total


SETTINGS = MMRSettings(
    groups=((1, 1), (2, 3), (4, 5)),
    weights=(1.0, 2.0, 1.0),
    temperatures=(0.1, 0.2, 0.5),
    teacher_weights=(0.0, 0.0, 0.0),
)


@pytest.mark.parametrize("score", ["mean", "sum"])
def test_loss_and_gradients_equal_the_definition(score):
    settings = replace(SETTINGS, score=score)
    queries, documents = unit_tensor(3, 4, 8, seed=1), unit_tensor(5, 5, 8, seed=2)
    ours = mmr_loss(queries, documents, settings).total
    slow = slow_loss(queries, documents, settings)
    assert ours.item() == pytest.approx(slow.item(), abs=1e-6)
    for one, other in zip(
        torch.autograd.grad(ours, [queries, documents]),
        torch.autograd.grad(slow, [queries, documents]),
        strict=True,
    ):
        assert (one - other).abs().max() < 1e-6


def test_scores_of_a_group_use_only_its_prefixes():
    query = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    page = torch.tensor([[[0.6, 0.8], [1.0, 0.0]]])
    scores = group_scores(query, page, [(1, 1), (1, 2), (2, 1), (2, 2)])
    assert [round(s.item(), 6) for s in scores] == [0.6, 1.0, 1.4, 1.8]


def test_two_equal_documents_cost_log_two():
    vector = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    settings = MMRSettings(((1, 1),), (1.0,), (0.05,), teacher_weights=(0.0,))
    assert mmr_loss(vector, vector, settings).total.item() == pytest.approx(math.log(2), abs=1e-6)


def test_a_teacher_that_agrees_adds_nothing_and_one_that_disagrees_adds():
    queries, documents = unit_tensor(3, 4, 8, seed=1), unit_tensor(3, 5, 8, seed=2)
    settings = MMRSettings(((2, 3),), (1.0,), (0.01,), teacher_weights=(1.0,))
    agreed = (group_scores(queries, documents, settings.groups)[0] / 2 / 0.01).log_softmax(1)
    plain = mmr_loss(queries, documents, settings).total.item()
    same = mmr_loss(queries, documents, settings, teacher=agreed, teacher_weight=1.0)
    other = mmr_loss(queries, documents, settings, teacher=agreed.flip(1), teacher_weight=1.0)
    assert same.total.item() == pytest.approx(plain, abs=1e-5)
    assert other.total.item() > plain + 0.1


def test_settings_refuse_groups_without_weights():
    with pytest.raises(ValueError, match="equally many"):
        MMRSettings(groups=((1, 1),), weights=(1.0, 1.0), temperatures=(0.05,))
