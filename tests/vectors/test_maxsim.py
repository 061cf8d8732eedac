from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.vectors import maxsim as module
from metaembed_rag.vectors.formats import quantize
from metaembed_rag.vectors.maxsim import maxsim, maxsim_batch, maxsim_quantized
from tests.support.vectors import unit_vectors


def definition(query, page):
    """MaxSim as the paper writes it: slow and obvious."""
    return sum(max(float(np.dot(q, c)) for c in page) for q in query)


def test_a_score_that_a_reader_can_compute():
    query = np.array([[1, 0], [0, 1]], dtype=np.float32)
    page = np.array([[0.6, 0.8], [-1, 0]], dtype=np.float32)
    # max(0.6, -1) + max(0.8, 0)
    assert maxsim(query, page[None])[0] == pytest.approx(1.4)
    assert maxsim(query, page[None], RetrievalBudget(1, 1))[0] == pytest.approx(0.6)
    assert maxsim(query, page[None, 1:], RetrievalBudget(1, 1))[0] == pytest.approx(-1.0)


@given(
    r_q=st.integers(1, 6), r_c=st.integers(1, 9), pages=st.integers(1, 7), seed=st.integers(0, 99)
)
def test_every_budget_equals_the_definition_on_the_prefixes(r_q, r_c, pages, seed):
    queries, candidates = unit_vectors(3, 6, 5, seed=seed), unit_vectors(pages, 9, 5, seed=seed + 1)
    scores = maxsim_batch(queries, candidates, RetrievalBudget(r_q, r_c))
    expected = [[definition(q[:r_q], c[:r_c]) for c in candidates] for q in queries]
    assert scores.shape == (3, pages)
    assert np.allclose(scores, expected, atol=1e-5)


def test_blocks_change_nothing(monkeypatch):
    queries, pages = unit_vectors(2, 4, 8), unit_vectors(23, 6, 8, seed=1)
    whole = maxsim_batch(queries, pages)
    monkeypatch.setattr(module, "_BLOCK_VALUES", 100)
    assert np.allclose(maxsim_batch(queries, pages), whole, atol=1e-6)


def test_a_score_does_not_depend_on_the_neighbours():
    query, pages = unit_vectors(4, 8), -np.abs(unit_vectors(5, 6, 8, seed=1))
    together = maxsim(np.abs(query), pages)
    alone = [maxsim(np.abs(query), page[None])[0] for page in pages]
    assert np.allclose(together, alone, atol=1e-6)
    assert (together < 0).all()  # no zero of a padding has won a maximum


def test_torch_tensors_give_the_numbers_of_numpy_arrays():
    queries, pages = unit_vectors(3, 4, 8), unit_vectors(5, 6, 8, seed=1)
    scores = maxsim_batch(torch.from_numpy(queries), torch.from_numpy(pages))
    assert isinstance(scores, torch.Tensor)
    assert np.allclose(scores.numpy(), maxsim_batch(queries, pages), atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_numbers_of_the_cpu():
    queries, pages = unit_vectors(3, 16, 128), unit_vectors(500, 64, 128, seed=1)
    scores = maxsim_batch(torch.from_numpy(queries).cuda(), torch.from_numpy(pages).cuda())
    assert np.allclose(scores.cpu().numpy(), maxsim_batch(queries, pages), atol=1e-4)


@pytest.mark.parametrize("budget", ["1,1", "2,4", "4,6"])
def test_int8_scoring_is_exactly_the_scoring_of_the_dequantised_vectors(budget):
    budget = RetrievalBudget.parse(budget)
    query, pages = unit_vectors(4, 8), quantize(unit_vectors(5, 6, 8, seed=1))
    expected = maxsim(query, pages.dequantize(), budget)
    assert np.allclose(maxsim_quantized(query, pages, budget), expected, atol=1e-6)


def test_no_pages_give_no_scores():
    assert maxsim_batch(unit_vectors(3, 4, 8), np.empty((0, 6, 8), np.float32)).shape == (3, 0)
