"""MaxSim of int8 tensors gives the bits that the kernels for arrays give."""

import sys
import types

import numpy as np
import pytest
import torch

from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import StoreError
from metaembed_rag.index import PageIndex
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from metaembed_rag.vectors import tensors
from metaembed_rag.vectors.formats import quantize, vector_format
from metaembed_rag.vectors.integers import maxsim_levels, thread_count
from metaembed_rag.vectors.tensors import TensorPages

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
        TensorPages.copied(levels, "abacus")


def an_index(at=None, **options):
    """With ``at``, one that scores by tensors there; else an index does so on GPUs only."""
    index = PageIndex.open(":memory:", FakeEncoder(dimension=32), **options)
    if at is not None:
        index._searcher._device = lambda: at
    index.add(Page("book", number=n, text=f"a{n % 7} b{n % 11} c{n}") for n in range(1, 90))
    index.delete("book#3")
    return index


def answers(index, **options):
    return [(hit.page.id, hit.score) for hit in index.search("a3 b5", k=7, **options)]


@pytest.mark.parametrize("format", ["int8", "bits", "fp16"])
def test_an_index_that_scores_on_a_device_finds_what_the_exact_search_finds(device, format):
    one = an_index(format=format)
    other = an_index(at=f"{device}:0", format=format)  # "cpu" alone is the kernel
    for options in ({}, {"budget": "4,8"}, {"where": {"page": {"$lte": 40}}}):
        expected = answers(one, exhaustive=True, **options)
        assert answers(other, **options) == answers(other, exhaustive=True, **options) == expected
    plan = other.search("a3").plan
    assert plan.source == ("cache" if format == "fp16" else f"{device}:0")
    assert plan.stages[-1] == (64, 88)


def test_the_environment_or_the_models_gpu_says_where_pages_are_scored(monkeypatch):
    monkeypatch.setenv(tensors.VARIABLE, " CUDA:1 ")
    assert an_index()._model.scoring_device() == "cuda:1"
    index = an_index(scoring_device="cpu")
    index.encoder.device = torch.device("cuda")
    assert index.search("a3").plan.source == "cache"
    monkeypatch.delenv(tensors.VARIABLE)
    index = an_index()
    assert index.search("a3").plan.source == "cache"
    index.encoder.device = torch.device("cuda")
    assert index._model.scoring_device() == "cuda"


@pytest.mark.parametrize("name", ["CPU", "cpu:0", " cpu "])
def test_the_processor_is_known_by_each_of_its_names(name):
    assert an_index(scoring_device=name).search("a3").plan.source == "cache"


@pytest.mark.parametrize("name", ["mps", "xpu", "meta", "cpu:1", "cuda:", "cuda:x", "0"])
def test_another_device_is_refused_with_those_that_there_are(name, monkeypatch):
    with pytest.raises(StoreError, match='"cpu", "cuda", or a GPU by its number'):
        PageIndex.open(":memory:", FakeEncoder(), scoring_device=name)
    monkeypatch.setenv(tensors.VARIABLE, name)
    with pytest.raises(StoreError, match=tensors.VARIABLE):
        PageIndex.open(":memory:", FakeEncoder())


def fails_with(error):
    """In place of a constructor."""

    def init(self, levels, device):
        raise error

    return init


def test_pages_that_a_gpu_has_no_memory_for_are_scored_here(monkeypatch, caplog):
    monkeypatch.setattr(TensorPages, "fit", lambda levels, device: False)
    assert an_index(at="cuda").search("a3").plan.source == "cache"
    assert "do not fit" in caplog.text


def test_memory_that_was_taken_meanwhile_is_no_error(monkeypatch, caplog):
    monkeypatch.setattr(TensorPages, "__init__", fails_with(torch.OutOfMemoryError("full")))
    assert an_index(at="cpu:0").search("a3").plan.source == "cache"
    assert "do not fit" in caplog.text


@pytest.mark.parametrize("error", [RuntimeError("broken driver"), AssertionError("no driver")])
def test_a_device_that_takes_no_pages_is_a_sentence(monkeypatch, error):
    monkeypatch.setattr(TensorPages, "__init__", fails_with(error))
    with pytest.raises(StoreError, match=f"{error}.*choose another scoring_device"):
        an_index(at="cpu:0").search("a3")


def test_pages_are_copied_only_for_searches_that_score_them_there():
    index = an_index(at="cpu:0")
    index.calibrate(["a1 b2", "a3 b5", "c4", "b7"], k=3)
    index.search("a3", candidates=20)
    index.search("a3", budget="auto")
    index.score("a3", ["book#1"])
    assert index._searcher._copy is None
    assert index.search("a3").plan.source == "cpu:0"
    assert index._searcher._copy is not None


def test_scales_are_divided_by_a_tensor():
    """By a Python number CUDA multiplies by its reciprocal, so other bits; here the CPU cannot."""
    divisors = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function in (torch.Tensor.div, torch.Tensor.__truediv__, torch.div):
                divisors.append(args[1])
            return function(*args, **(kwargs or {}))

    with Watch():
        tensors._rounded(torch.ones(1, 2, 8))
    assert len(divisors) == 2
    assert all(isinstance(one, torch.Tensor) for one in divisors)


@pytest.mark.parametrize("torch_so_far", [None, types.ModuleType("torch")])
def test_threads_are_counted_while_torch_is_being_imported(monkeypatch, torch_so_far):
    monkeypatch.setitem(sys.modules, "torch", torch_so_far)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count() == 3
