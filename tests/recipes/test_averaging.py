"""Weights between the start and the end of a training run."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from recipes.averaging import best_share, between  # noqa: E402

START = {"a": torch.tensor([0.0, 2.0]), "b": torch.tensor([[4.0]])}
TRAINED = {"a": torch.tensor([1.0, 4.0]), "b": torch.tensor([[0.0]])}


def test_a_share_is_a_point_on_the_line_of_every_tensor():
    weights = between(START, TRAINED, 0.25)
    assert weights["a"].tolist() == [0.25, 2.5]
    assert weights["b"].tolist() == [[3.0]]
    assert between(START, TRAINED, 1.0)["a"].tolist() == [1.0, 4.0]


def test_what_training_left_alone_stays_as_it_is_to_the_last_bit():
    same = {"a": torch.tensor([0.1, 1 / 3, 7e-9])}
    assert torch.equal(between(same, same, 0.3)["a"], same["a"])


def test_the_best_share_is_where_quality_is_highest():
    def quality(weights):
        return -abs(weights["a"][0].item() - 0.4)

    best, scores = best_share(START, TRAINED, quality, (0.2, 0.4, 1.0))
    assert best == 0.4
    assert scores == pytest.approx({0.2: -0.2, 0.4: 0.0, 1.0: -0.6}, abs=1e-6)


def test_of_equal_shares_the_one_with_more_training_is_taken():
    assert best_share(START, TRAINED, lambda weights: 0.0, (0.2, 0.8, 0.5))[0] == 0.8
