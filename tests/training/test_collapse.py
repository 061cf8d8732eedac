"""Whether the vectors of one input are alike, on vectors that a pencil can check."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from metaembed_rag.training.collapse import collapse_at, evenness_penalty, measure_collapse  # noqa: E402


def test_evenness_penalty_is_0_when_all_vectors_win_equally_and_1_when_one_does():
    axes = torch.eye(4)[None]
    assert evenness_penalty(axes, axes, temperature=0.01).item() == pytest.approx(0, abs=1e-6)
    one = axes[:, :1].expand(1, 4, 4)
    assert evenness_penalty(one, axes, temperature=0.01).item() == pytest.approx(1, abs=1e-6)


def test_evenness_of_two_winners_among_four_is_a_half():
    axes = torch.eye(4)[None]
    asked = axes[:, [0, 0, 1, 1]]
    expected = 1 - math.log(2) / math.log(4)
    assert evenness_penalty(asked, axes, temperature=0.01).item() == pytest.approx(expected)


def test_collapse_is_seen_where_the_raw_cosine_hides_it():
    """Each slot adds its own constant to one vector of the text: all slots say the same."""
    generator = torch.Generator().manual_seed(0)
    slots = 5 * torch.eye(8)[None]
    text = torch.randn(20, 1, 8, generator=generator)
    collapsed = torch.nn.functional.normalize(slots + text, dim=-1)
    diverse = torch.nn.functional.normalize(torch.randn(20, 8, 8, generator=generator), dim=-1)
    assert measure_collapse(collapsed, collapsed).centred_cosine > 0.4
    assert abs(measure_collapse(diverse, diverse).centred_cosine) < 0.1
    assert measure_collapse(diverse[:, :1], diverse).evenness < 0.3


def test_collapse_is_measured_at_each_budget_that_has_two_page_vectors():
    same = torch.nn.functional.normalize(torch.randn(4, 1, 8), dim=-1).expand(4, 3, 8)
    found = collapse_at(same[:, :2], same, [(1, 1), (1, 2), (2, 3)])
    assert list(found) == ["1,2", "2,3"]
    assert found["2,3"].centred_cosine == pytest.approx(1, abs=1e-5)
    assert found["2,3"].effective_rank == pytest.approx(1, abs=1e-3)
