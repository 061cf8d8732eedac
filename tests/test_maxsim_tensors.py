"""MaxSim of int8 tensors gives the bits that the kernels for arrays give."""

import numpy as np
import pytest
import torch

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.maxsim import tensors
from metaembed_rag.maxsim.integers import maxsim_levels
from metaembed_rag.multivector import quantize

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def device(request):
    """Where the tensors lie."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return request.param


def both(device, queries, pages, budget=None):
    """Scores by tensors and by arrays."""
    stored = quantize(pages)
    given = [torch.from_numpy(a).to(device) for a in (queries, stored.values, stored.scales)]
    found = tensors.maxsim_int8_tensors(*given, budget)
    return found.cpu().numpy(), maxsim_levels(queries, [stored], budget, threads=1)


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("dimension", [1, 7, 64, 70, 2000])
def test_tensors_give_the_bits_of_arrays(device, dimension):
    for shape in ((1, 1), (3, 5), (40, 64)):
        found, expected = both(device, normal(2, 3, dimension), normal(*shape, dimension))
        assert np.array_equal(found, expected)


def test_blocks_change_no_score(device, monkeypatch):
    monkeypatch.setattr(tensors, "_BLOCK_PRODUCTS", 3 * 5 * 16)  # three pages a block
    found, expected = both(device, normal(16, 32), normal(7, 5, 32))
    assert found.shape == (1, 7)
    assert np.array_equal(found, expected)


def test_a_budget_is_a_prefix_of_both_sides(device):
    found, expected = both(device, normal(2, 4, 32), normal(6, 8, 32), RetrievalBudget(2, 4))
    assert np.array_equal(found, expected)


def test_zero_vectors_and_no_pages(device):
    found, _ = both(device, np.zeros((1, 2, 8), np.float32), normal(3, 4, 8))
    assert found.tolist() == [[0, 0, 0]]
    found, _ = both(device, normal(1, 2, 8), normal(0, 4, 8).reshape(0, 4, 8))
    assert found.shape == (1, 0)
