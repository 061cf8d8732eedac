"""MaxSim of int8 tensors gives the bits that the kernels for arrays give."""

import numpy as np
import pytest
import torch

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import StoreError
from metaembed_rag.formats import vector_format
from metaembed_rag.index import PageIndex
from metaembed_rag.maxsim import tensors
from metaembed_rag.maxsim.integers import maxsim_levels
from metaembed_rag.maxsim.tensors import TensorPages
from metaembed_rag.multivector import quantize
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder

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


@pytest.mark.parametrize("format", ["int8", "int4", "bits"])
def test_pages_that_are_held_on_a_device_score_as_their_levels_do(device, format, monkeypatch):
    monkeypatch.setattr(tensors, "_COPIED_AT_ONCE", 4)
    pages, queries = normal(9, 8, 32), normal(2, 4, 32)
    levels = [vector_format(format).encode(pages[:, a:b]) for a, b in ((0, 1), (1, 8))]
    assert TensorPages.fit(levels, device)
    held, budget, rows = TensorPages(levels, device), RetrievalBudget(4, 6), np.array([8, 0, 3])
    expected = maxsim_levels(queries, levels, budget)
    assert np.array_equal(held.scores(queries, budget), expected)
    assert np.array_equal(held.scores(queries, budget, rows), expected[:, rows])


def test_what_cannot_be_held_is_refused():
    levels = [vector_format("fp16").encode(normal(3, 2, 8))]
    with pytest.raises(ValueError, match="no whole numbers"):
        TensorPages(levels, "cpu")
    with pytest.raises(StoreError, match="choose another scoring_device"):
        TensorPages.fit(levels, "abacus")


def an_index(**options):
    index = PageIndex.open(":memory:", FakeEncoder(dimension=32), **options)
    index.add(Page("book", number=n, text=f"a{n % 7} b{n % 11} c{n}") for n in range(1, 90))
    index.delete("book#3")
    return index


def answers(index, **options):
    return [(hit.page.id, hit.score) for hit in index.search("a3 b5", k=7, **options)]


@pytest.mark.parametrize("format", ["int8", "bits", "fp16"])
def test_an_index_that_scores_on_a_device_finds_what_the_exact_search_finds(device, format):
    one = an_index(format=format)
    other = an_index(format=format, scoring_device=f"{device}:0")  # "cpu" alone is the kernel
    for options in ({}, {"budget": "4,8"}, {"where": {"page": {"$lte": 40}}}):
        expected = answers(one, exhaustive=True, **options)
        assert answers(other, **options) == answers(other, exhaustive=True, **options) == expected
    plan = other.search("a3").plan
    assert plan.source == ("cache" if format == "fp16" else f"{device}:0")
    assert plan.stages[-1] == (64, 88)


def test_the_environment_or_the_models_gpu_says_where_pages_are_scored(monkeypatch):
    monkeypatch.setenv(tensors.VARIABLE, "cpu:0")
    assert an_index().search("a3").plan.source == "cpu:0"
    assert an_index(scoring_device="cpu").search("a3").plan.source == "cache"
    monkeypatch.delenv(tensors.VARIABLE)
    index = an_index()
    assert index.search("a3").plan.source == "cache"
    index.encoder.device = torch.device("cuda")
    assert index._scoring_device() == "cuda"


def test_pages_that_a_gpu_has_no_memory_for_are_scored_here(monkeypatch, caplog):
    monkeypatch.setattr(TensorPages, "fit", lambda levels, device: False)
    assert an_index(scoring_device="cuda").search("a3").plan.source == "cache"
    assert "do not fit" in caplog.text
